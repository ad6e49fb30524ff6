"""A fully connected layer on inputs that all trials share: one product of all trials' rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.devices import pieces
from tasks.arrays.products import RowLayout, product
from tasks.models.layers.layer import Forward


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedAffine:
    """``y = W x`` for features ``(N, D)`` that end in the bias's 1; weights are rows ``(H, D)``, laid out in panels.

    The bits of a trial's rows depend neither on the other trials nor on their number. The gradient is also available in
    parts of ``part`` rows (whole panels), with the same bits.
    """

    layout: RowLayout
    part: int
    matrices: ClassVar[int] = 1

    def forward(self, inputs: Array, weights: Array) -> Forward:
        """Return ``W x``; ``dL/dx = W^T dL/dy``, one for every trial, and ``dL/dW = sum_n dL/dy_n x_n^T``."""
        xp = array_namespace(inputs)

        def to_inputs(slope: Array) -> Array:
            return xp.matmul(xp.matrix_transpose(slope), self.layout.units(weights))  # (K, N, R) @ (K, R, D)

        def to_weights(slope: Array) -> list[Array]:
            return [product(self.layout.rows(slope), inputs)]  # (H, N) @ (N, D)

        def parts(slope: Array) -> Iterator[tuple[slice, Array]]:
            rows = self.layout.rows(slope)
            for place in pieces(self.layout.height, self.part):
                yield place, product(rows[place, :], inputs)

        return Forward(self.layout.units(product(weights, inputs.T)), to_inputs, to_weights, parts)  # (H, D) @ (D, N)
