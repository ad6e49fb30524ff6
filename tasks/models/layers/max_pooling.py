"""Max pooling: the largest of every 2 x 2 pixels. Source: CS231n, "Convolutional Neural Networks"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array
from tasks.models.layers.layer import Forward, no_weights


@dataclass(frozen=True, slots=True)
class MaxPooling:
    """``(K, C, H, W, N)`` to ``(K, C, H // 2, W // 2, N)``; an odd last row or column is dropped.

    It takes the larger of every two rows, then of every two columns; in a tie, the first.

    >>> import numpy as np
    >>> MaxPooling().forward(np.reshape([1.0, 7.0, 3.0, 5.0], (1, 1, 2, 2, 1))).outputs.ravel()
    array([7.])
    """

    matrices: ClassVar[int] = 0

    def forward(self, inputs: Array) -> Forward:
        """Return the largest of every four; ``dL/dx`` is ``dL/dy`` for the largest and 0 for the others."""
        shape = inputs.shape
        height, width = shape[2] // 2 * 2, shape[3] // 2 * 2
        columns, to_rows = _larger(inputs[:, :, 0:height:2, :width, :], inputs[:, :, 1:height:2, :width, :])
        outputs, to_columns = _larger(columns[:, :, :, 0::2, :], columns[:, :, :, 1::2, :])
        shape_of_columns = columns.shape

        def to_inputs(slope: Array) -> Array:
            xp = array_namespace(slope)
            like: Array = {"dtype": slope.dtype, "device": slope.device}
            by_column = xp.empty(shape_of_columns, **like)
            to_columns(slope, by_column[:, :, :, 0::2, :], by_column[:, :, :, 1::2, :])
            gradient = (xp.empty if (height, width) == shape[2:4] else xp.zeros)(shape, **like)
            to_rows(by_column, gradient[:, :, 0:height:2, :width, :], gradient[:, :, 1:height:2, :width, :])
            return gradient

        return Forward(outputs, to_inputs, no_weights)


def _larger(first: Array, second: Array) -> tuple[Array, Callable[[Array, Array, Array], None]]:
    """Return the larger of each pair, and a function that writes its gradient to the larger, and 0 to the other."""
    xp = array_namespace(first)
    is_first = first >= second

    def to_pair(slope: Array, by_first: Array, by_second: Array) -> None:
        if is_numpy_array(slope):  # in place, in two thirds of the time
            np.multiply(slope, is_first, out=by_first)
            np.subtract(slope, by_first, out=by_second)
            return
        by_first[...] = slope * xp.astype(is_first, slope.dtype)
        by_second[...] = slope - by_first

    return xp.maximum(first, second), to_pair
