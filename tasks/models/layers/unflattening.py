"""Before the first convolution: flat features as images, shared by all trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.models.layers.layer import Forward, no_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Unflattening:
    """Features ``(N, C*H*W + 1)`` as images ``(1, C, H, W, N)``; the last feature, the bias's 1, is dropped.

    >>> import numpy as np
    >>> Unflattening(shape=(1, 1, 2)).forward(np.array([[3, 4, 1], [5, 6, 1]])).outputs.tolist()
    [[[[[3, 5], [4, 6]]]]]
    """

    shape: tuple[int, int, int]
    matrices: ClassVar[int] = 0

    def forward(self, inputs: Array) -> Forward:
        """Return the images; their gradient becomes that of the features, ``(K, N, C*H*W + 1)``, 0 for the bias's 1."""
        xp, examples = array_namespace(inputs), inputs.shape[0]
        pixels = xp.asarray(xp.matrix_transpose(inputs[:, :-1]), copy=True)

        def to_inputs(slope: Array) -> Array:
            flat = xp.matrix_transpose(xp.reshape(slope, (slope.shape[0], -1, examples)))
            return xp.concat([flat, xp.zeros_like(flat[..., :1])], axis=-1)

        return Forward(xp.reshape(pixels, (1, *self.shape, examples)), to_inputs, no_weights)
