"""The objective of a fused group: data loss and regularization loss of many trials, and their gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.stacking import by_form, by_value, concatenated, per_trial, stack
from tasks.fused.parallel import total
from tasks.losses import Loss
from tasks.regularizers import Regularizer

if TYPE_CHECKING:
    from tasks.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """``mean over examples of loss(scores, label) + regularization * R(W)`` for ``K`` trials at once.

    Consecutive trials whose losses are of one form are computed as one, and so are those with equal regularizers.
    """

    losses: tuple[tuple[slice, Loss], ...]
    regularizers: tuple[tuple[slice, Regularizer], ...]
    regularization: Array

    @classmethod
    def of(cls, trials: Sequence[Trial], *, like: Array) -> Objective:
        """Return the objective of trials, in the precision and on the device of ``like``."""
        return cls(
            losses=tuple((run, stack(rows, like=like, trailing=2)) for run, rows in by_form([t.loss for t in trials])),
            regularizers=tuple((run, rows[0]) for run, rows in by_value([t.regularizer for t in trials])),
            regularization=per_trial([t.regularization for t in trials], like=like, trailing=0),
        )

    def losses_of_scores(self, scores: Array, labels: Array) -> Array:
        """Return every example's data loss ``(K, N)`` from scores ``(K, C, N)``."""
        return concatenated([loss.losses(scores[run, ...], labels) for run, loss in self.losses])

    def sums_of_coordinates(self, coordinates: Array) -> Array:
        """Return the sum of the examples' data losses ``(K,)`` from coordinates ``(K, C, N)``; see `Loss.sums`."""
        return concatenated([loss.sums(coordinates[run, ...]) for run, loss in self.losses])

    def losses_and_slope(self, scores: Array, labels: Array) -> tuple[Array, Array]:
        """Return the sum of the examples' losses ``(K,)``, and its gradient by the scores ``(K, C, N)``."""
        parts = [loss.losses_and_gradient(scores[run, ...], labels) for run, loss in self.losses]
        losses = concatenated([losses for losses, _ in parts])
        return array_namespace(scores).sum(losses, axis=-1), concatenated([slope for _, slope in parts])

    def regularization_loss(self, matrices: Sequence[Array]) -> Array:
        """Return ``regularization * R(W)``, ``(K,)``, of the matrices of weights, ``(K, R_i, D_i)`` each."""
        xp = array_namespace(*matrices)
        return self.regularization * total([xp.sum(self.penalties(matrix), axis=-1) for matrix in matrices])

    def penalties(self, rows: Array) -> Array:
        """Return ``R`` of every row of weights, ``(K, *rows, D)`` as ``(K, *rows)``."""
        return concatenated([regularizer.penalty(rows[run, ...]) for run, regularizer in self.regularizers])

    def regularization_gradient(self, rows: Array) -> Array:
        """Return the gradient of the regularization loss by rows of weights ``(K, *rows, D)``."""
        strength = array_namespace(rows).reshape(self.regularization, (-1, *[1] * (rows.ndim - 1)))
        return concatenated([rule.gradient(rows[run, ...], strength[run, ...]) for run, rule in self.regularizers])
