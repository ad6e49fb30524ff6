"""Fused trials of a network with large activations: the shared layers run once, the others a trial at a time.

The activations of one trial stay in a processor's cache; those of all trials would not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.products import RowLayout, layout_of
from tasks.models.model import GradientPart, Vjp, VjpInParts
from tasks.models.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class OneByOne:
    """``K`` fused trials; see `Arrangement`. ``shared`` has no weights; ``own`` are the layers of one trial."""

    trials: int
    shared: Network
    own: Network

    @property
    def layouts(self) -> Sequence[RowLayout]:
        """The layout of every trial's rows in each matrix: one trial after the other."""
        return [layout_of(self.trials, units, None) for units, _ in self.own.shapes]

    def rows(self, points: Array) -> list[Array]:
        """Return points ``(K, P)`` as matrices ``(H_i, D_i)``: copies, which may be updated in place."""
        each = [self.own.rows(points[k : k + 1, :]) for k in range(self.trials)]
        return [_joined(matrices) for matrices in zip(*each, strict=True)]

    def points(self, rows: Sequence[Array]) -> Array:
        """Return the points ``(K, P)`` of matrices: the inverse of `rows`."""
        return _joined([self.own.points(matrices) for matrices in self._each(rows)])

    def scores(self, rows: Sequence[Array], features: Array) -> Array:
        """Return the scores of features ``(N, D)``, ``(K, C, N)``."""
        inputs = self.shared.scores([], features)
        return _joined([self.own.scores(matrices, inputs) for matrices in self._each(rows)])

    def scores_and_vjp(self, rows: Sequence[Array], features: Array) -> tuple[Array, Vjp]:
        """Return the scores ``(K, C, N)``, and the function from dL/dscores to the gradient by every matrix."""
        inputs = self.shared.scores([], features)
        passes = [self.own.scores_and_vjp(matrices, inputs) for matrices in self._each(rows)]

        def to_rows(slope: Array) -> list[Array]:
            gradients = [vjp(slope[k : k + 1, ...]) for k, (_, vjp) in enumerate(passes)]
            return [_joined(matrices) for matrices in zip(*gradients, strict=True)]

        return _joined([scores for scores, _ in passes]), to_rows

    def scores_and_parts(self, rows: Sequence[Array], features: Array) -> tuple[Array, VjpInParts]:
        """Return the scores ``(K, C, N)``, and the function that yields the gradients, a trial at a time."""
        inputs = self.shared.scores([], features)
        passes = [self.own.scores_and_parts(matrices, inputs) for matrices in self._each(rows)]

        def to_parts(slope: Array) -> Iterator[GradientPart]:
            for k, (_, own_parts) in enumerate(passes):
                for matrix, place, gradient in own_parts(slope[k : k + 1, ...]):
                    start = k * self.own.shapes[matrix][0]
                    yield GradientPart(matrix, slice(start + place.start, start + place.stop), gradient)

        return _joined([scores for scores, _ in passes]), to_parts

    def data_gradient(self, rows: Sequence[Array], features: Array, slope: Array) -> Array:
        """Return dL/dfeatures without the bias's 1, ``(K, N, D - 1)``, from ``slope``, dL/dscores ``(K, C, N)``."""
        inputs = self.shared.scores([], features)
        return _joined(
            [
                self.shared.data_gradient([], features, self.own.inputs_gradient(own, inputs, slope[k : k + 1, ...]))
                for k, own in enumerate(self._each(rows))
            ]
        )

    def last_layer_inputs(self, rows: Sequence[Array], features: Array) -> Array:
        """Return the inputs of the last layer with the bias's 1 appended, ``(K, N, H + 1)``."""
        inputs = self.shared.scores([], features)
        return _joined([self.own.last_layer_inputs(matrices, inputs) for matrices in self._each(rows)])

    def _each(self, rows: Sequence[Array]) -> list[list[Array]]:
        """Return views of every trial's matrices."""
        heights = [units for units, _ in self.own.shapes]
        return [
            [matrix[k * units : (k + 1) * units, :] for matrix, units in zip(rows, heights, strict=True)]
            for k in range(self.trials)
        ]


def _joined(arrays: Sequence[Array]) -> Array:
    """Return the arrays of all trials as one."""
    return array_namespace(*arrays).concat(list(arrays), axis=0)
