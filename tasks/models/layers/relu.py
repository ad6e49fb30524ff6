"""The rectified linear unit, ``y = max(0, x)``, of activations ``(K, units, ...)``. Source: Nair and Hinton 2010."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.models.layers.layer import Forward, no_weights


@dataclass(frozen=True, slots=True)
class Relu:
    """``y = max(0, x)``; its subgradient at the kink 0 is 0.

    >>> import numpy as np
    >>> outputs, to_inputs, *_ = Relu().forward(np.array([[-1.0, 0.0, 2.0]]))
    >>> outputs, to_inputs(np.array([[5.0, 5.0, 5.0]]))
    (array([[0., 0., 2.]]), array([[0., 0., 5.]]))
    """

    matrices: ClassVar[int] = 0

    def forward(self, inputs: Array) -> Forward:
        """Return ``max(0, x)``; ``dL/dx = dL/dy`` where ``x > 0``, which is where ``y > 0``."""
        xp = array_namespace(inputs)
        # A row of zeros that all units share: NumPy's maximum with a scalar takes three times as long.
        outputs = xp.maximum(inputs, xp.zeros_like(inputs[:1, :1, ...]))

        def to_inputs(slope: Array) -> Array:
            return slope * xp.astype(outputs > 0, slope.dtype)

        return Forward(outputs, to_inputs, no_weights)
