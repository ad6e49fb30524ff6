"""The objective of a fused group: data loss and regularization loss of many trials, and their gradient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from array_api_compat import array_namespace

from tasks.losses import Loss
from tasks.models.linear import Linear
from tasks.products import Layout
from tasks.regularizers import Regularizer
from tasks.stacking import per_trial, segments, stack

if TYPE_CHECKING:
    from tasks.trial import Trial


class Evaluation(NamedTuple):
    """Of a block of examples: losses ``(K,)``, gradient, laid out as rows ``(H, D)``, and scores ``(K, C, N)``."""

    losses: Any
    gradient: Any
    scores: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """``mean over examples of loss(scores, label) + regularization * R(W)`` for ``K`` trials at once.

    Trials with losses (or regularizers) of one class stand next to each other; each run of them is
    computed as one.
    """

    model: Linear
    losses: tuple[tuple[slice, Loss], ...]
    regularizers: tuple[tuple[slice, Regularizer], ...]
    regularization: Any

    @classmethod
    def of(cls, trials: Sequence[Trial], *, like: Any) -> Objective:
        """Return the objective of trials that share a model, in the precision and on the device of ``like``."""
        return cls(
            model=trials[0].model,
            losses=tuple((run, stack(rows, like=like, trailing=2)) for run, rows in segments([t.loss for t in trials])),
            regularizers=tuple((run, rows[0]) for run, rows in segments([t.regularizer for t in trials])),
            regularization=per_trial([t.regularization for t in trials], like=like, trailing=0),
        )

    def scores(self, weights: Any, features: Any) -> Any:
        """Return the scores ``(K, C, N)`` of weights ``(K, C, D)`` on features ``(N, D)``."""
        return self.model.scores(weights, features)

    def losses_of_scores(self, scores: Any, labels: Any) -> Any:
        """Return every example's data loss ``(K, N)`` from scores ``(K, C, N)``."""
        xp = array_namespace(scores)
        parts = [loss.losses(scores[run, ...], labels) for run, loss in self.losses]
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)

    def sums_of_excesses(self, excesses: Any) -> Any:
        """Return the sum of the examples' data losses ``(K,)`` from excesses ``(K, C, N)``; see `Loss.sums`."""
        xp = array_namespace(excesses)
        parts = [loss.sums(excesses[run, ...]) for run, loss in self.losses]
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)

    def layout(self, shape: tuple[int, int], examples: Iterable[int], *, like: Any) -> Layout:
        """Return where the rows of the trials' weights stand in a descent; see `Linear.layout`."""
        return self.model.layout(self.regularization.shape[0], shape, examples, like=like)

    def evaluate(
        self, rows: Any, features: Any, labels: Any, *, layout: Layout, factor: Any, scale: Any = None
    ) -> Evaluation:
        """Return the sum of one block's losses, the gradient of it times ``factor``, and the scores.

        The weights are ``scale`` times rows ``(H, D)``; both numbers are one for all trials or ``(K, 1, 1)``.
        """
        xp = array_namespace(rows)
        scores = self.model.scores_of_rows(rows, features, layout)
        scores = scores if scale is None else scale * scores
        parts = [loss.losses_and_gradient(scores[run, ...], labels) for run, loss in self.losses]
        losses = [losses for losses, _ in parts]
        slopes = [slope for _, slope in parts]
        slope = (slopes[0] if len(slopes) == 1 else xp.concat(slopes, axis=0)) * factor
        total = xp.sum(losses[0] if len(losses) == 1 else xp.concat(losses, axis=0), axis=-1)
        return Evaluation(total, self.model.weights_gradient(slope, features, layout), scores)

    def regularization_loss(self, weights: Any) -> Any:
        """Return ``regularization * R(W)``, ``(K,)``."""
        xp = array_namespace(weights)
        parts = [regularizer.penalty(weights[run, ...]) for run, regularizer in self.regularizers]
        return self.regularization * (parts[0] if len(parts) == 1 else xp.concat(parts, axis=0))

    def regularization_gradient(self, weights: Any) -> Any:
        """Return the gradient of the regularization loss, ``(K, C, D)``."""
        xp = array_namespace(weights)
        strength = self.regularization[:, None, None]
        parts = [rule.gradient(weights[run, ...], strength[run, ...]) for run, rule in self.regularizers]
        return parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)
