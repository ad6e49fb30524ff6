"""Max pooling: the largest of every 2 x 2 pixels. Source: CS231n, "Convolutional Neural Networks"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from array_api_compat import array_namespace

from tasks.models.layers.layer import Forward, no_weights


@dataclass(frozen=True, slots=True)
class MaxPooling:
    """``(K, C, H, W, N)`` to ``(K, C, H // 2, W // 2, N)``; a row or column that has no partner is left out.

    The larger of every two rows, then of every two columns; of equal ones the first.

    >>> import numpy as np
    >>> MaxPooling().forward(np.reshape([1.0, 7.0, 3.0, 5.0], (1, 1, 2, 2, 1))).outputs.ravel()
    array([7.])
    """

    matrices: ClassVar[int] = 0

    def forward(self, inputs: Any) -> Forward:
        """Return the largest of every four; all of ``dL/dy`` goes to the one that it is."""
        height, width = inputs.shape[2] // 2 * 2, inputs.shape[3] // 2 * 2
        upper, lower = inputs[:, :, 0:height:2, :width, :], inputs[:, :, 1:height:2, :width, :]
        columns, to_rows = _larger(upper, lower)
        outputs, to_columns = _larger(columns[:, :, :, 0::2, :], columns[:, :, :, 1::2, :])

        def to_inputs(slope: Any) -> Any:
            xp = array_namespace(slope)
            by_column = xp.empty_like(columns)
            by_column[:, :, :, 0::2, :], by_column[:, :, :, 1::2, :] = to_columns(slope)
            whole = (height, width) == inputs.shape[2:4]
            gradient = xp.empty_like(inputs) if whole else xp.zeros_like(inputs)
            gradient[:, :, 0:height:2, :width, :], gradient[:, :, 1:height:2, :width, :] = to_rows(by_column)
            return gradient

        return Forward(outputs, to_inputs, no_weights)


def _larger(first: Any, second: Any) -> tuple[Any, Callable[[Any], tuple[Any, Any]]]:
    """Return the larger of each pair, and what gives its gradient to one of the two."""
    xp = array_namespace(first)
    is_first = first >= second

    def to_pair(slope: Any) -> tuple[Any, Any]:
        to_first = slope * xp.astype(is_first, slope.dtype)
        return to_first, slope - to_first

    return xp.maximum(first, second), to_pair
