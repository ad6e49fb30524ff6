"""Between convolutions and fully connected layers: images as flat activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.models.layers.layer import Forward, no_weights


@dataclass(frozen=True, slots=True)
class Flattening:
    """Activations ``(K, C, H, W, N)`` as ``(K, C*H*W, N)``."""

    matrices: ClassVar[int] = 0

    def forward(self, inputs: Array) -> Forward:
        """Return the activations reshaped; the gradient is reshaped back."""
        xp, shape = array_namespace(inputs), inputs.shape
        outputs = xp.reshape(inputs, (shape[0], -1, shape[-1]))
        return Forward(outputs, lambda slope: xp.reshape(slope, shape), no_weights)
