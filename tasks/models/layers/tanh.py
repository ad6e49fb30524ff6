"""The hyperbolic tangent, ``y = tanh(x)``, of any shape. Source: CS231n, "Neural Networks Part 1"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.models.layers.layer import Forward, no_weights


@dataclass(frozen=True, slots=True)
class Tanh:
    """``y = tanh(x)``.

    >>> import numpy as np
    >>> outputs, to_inputs, *_ = Tanh().forward(np.array([0.0, 40.0]))
    >>> outputs, to_inputs(np.array([5.0, 5.0]))
    (array([0., 1.]), array([5., 0.]))
    """

    matrices: ClassVar[int] = 0

    def forward(self, inputs: Array) -> Forward:
        """Return ``tanh(x)``; ``dL/dx = dL/dy (1 - y^2)``."""
        outputs = array_namespace(inputs).tanh(inputs)

        def to_inputs(slope: Array) -> Array:
            return slope * (1 - outputs * outputs)

        return Forward(outputs, to_inputs, no_weights)
