"""A fully connected layer, ``y = W x + b``, a product a trial. Source: CS231n, "Neural Networks Part 1"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.models.layers.layer import Forward


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """``y = W x + b`` for inputs ``(K, D, N)`` and ``units`` outputs; weights are rows ``(K*units, D + 1)``.

    >>> import numpy as np
    >>> Affine(units=1).forward(np.array([[[3.0], [4.0]]]), np.array([[1.0, 10.0, 100.0]])).outputs
    array([[[143.]]])
    """

    units: int
    matrices: ClassVar[int] = 1

    def forward(self, inputs: Array, weights: Array) -> Forward:
        """Return ``W x + b``; ``dL/dx = W^T dL/dy``, ``dL/dW = sum_n dL/dy_n x_n^T`` and ``dL/db = sum_n dL/dy_n``."""
        xp = array_namespace(inputs)
        weights = xp.reshape(weights, (-1, self.units, weights.shape[1]))
        matrix, bias = weights[..., :-1], weights[..., -1:]

        def to_inputs(slope: Array) -> Array:
            return xp.matmul(xp.matrix_transpose(matrix), slope)  # (K, D, R) @ (K, R, N)

        def to_weights(slope: Array) -> list[Array]:
            by_matrix = xp.matmul(slope, xp.matrix_transpose(inputs))  # (K, R, N) @ (K, N, D)
            gradient = xp.concat([by_matrix, xp.sum(slope, axis=-1, keepdims=True)], axis=-1)
            return [xp.reshape(gradient, (-1, gradient.shape[-1]))]

        outputs = xp.matmul(matrix, inputs)  # (K, R, D) @ (K, D, N)
        outputs += bias
        return Forward(outputs, to_inputs, to_weights)
