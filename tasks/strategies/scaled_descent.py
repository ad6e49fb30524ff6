"""Plain gradient descent with few passes over the weights: a scalar weight decay, and the product is the update.

The learning rate multiplies the gradient with respect to the scores, a small array, so that backpropagation gives the
update itself. L2 multiplies all weights of a trial by one number at a step. Where scores are linear in the weights,
the weights are stored as ``scale * unscaled`` and only the scale decays (Bottou 2012, "Stochastic Gradient Descent
Tricks", section 5.1, for sparse data; here it saves memory bandwidth).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.devices import device_put, host
from tasks.arrays.replay import entry
from tasks.fused.descent import RowRange, Step, cache_sized_rows, copies_to_join, per_row, squared_norm, sums_per_trial
from tasks.fused.objective import Objective
from tasks.fused.problem import Problem
from tasks.fused.state import State
from tasks.models.model import ScoreLinear

if TYPE_CHECKING:
    from tasks.memory import Sizes
    from tasks.trial import Trial

# When a scale leaves this range, the unscaled weights are multiplied by it and it is reset to 1.
_RANGE = (0.5, 2.0)

# The least learning rate: with less, float32 would lose the gradient that is recovered from the update.
_LEAST_RATE = 1e-36


class ScaledDescent:
    """Consecutive steps of a group from one of its states; see `Descent`."""

    in_place: ClassVar[bool] = True

    def __init__(self, problem: Problem, state: State, steps: range) -> None:
        self._problem = problem
        self._arrangement = problem.arrange(problem.minibatches.at(0))
        self._batch = problem.minibatches.over(range(steps.start - 1, steps.stop - 1))
        self._linear = isinstance(problem.model, ScoreLinear)
        self._unscaled = self._arrangement.rows(state["unscaled" if self._linear else "weights"])
        rates = np.maximum(problem.learning_rates(steps), _LEAST_RATE)
        decays = np.array([trial.regularizer.decay * trial.regularization for trial in problem.trials])
        scale = host(state["scale"])[:, 0] if self._linear else np.ones(len(problem.trials))
        self._scales, self._renewals = scales(scale, 1 - rates * decays, _RANGE if self._linear else (1, 1))
        before, after = self._scales[:-1], self._scales[1:]
        self._objectives: dict[RowRange, _RowObjective] = {}
        # Per step: the numbers of every trial, (S, K, 1, 1), and of every row, (S, H, 1).
        self._before = problem.array(before[..., None, None])
        self._factors = problem.array((-rates / after)[..., None, None])
        self._ratios = device_put(rates / np.abs(after), problem.like)
        of_trials = np.stack([rates, self._renewals, -after / rates, decays * before])
        per_matrix = per_row(problem, self._arrangement, of_trials)  # (4, S, H, 1)
        self._of_rows = [_OfRows(*(columns[number, ...] for number in range(4))) for columns in per_matrix]

    @staticmethod
    def init(problem: Problem, weights: Array) -> State:
        """Return weights ``(K, P)`` and, for a linear model, the unscaled weights and their scales ``(K, 1)``."""
        if not isinstance(problem.model, ScoreLinear):
            return {"weights": weights}
        xp = array_namespace(weights)
        scale = xp.ones((weights.shape[0], 1), dtype=xp.float64, device=weights.device)
        return {"weights": weights, "unscaled": weights, "scale": scale}

    @staticmethod
    def bytes_per_trial(trial: Trial, sizes: Sizes, *, steps: int) -> int:
        """Return the bytes of the states and rows, and the larger of those of the products and of the next state."""
        kept = 2 if isinstance(trial.model, ScoreLinear) else 1
        products = (sizes.gradients + copies_to_join(trial)) * sizes.weights + sizes.of_examples
        after = (kept + copies_to_join(trial)) * sizes.weights
        return (2 * kept + 1) * sizes.weights + len(_OfRows._fields) * steps * sizes.rows + max(products, after)

    @staticmethod
    def temporaries(sizes: Sizes) -> int:
        """Return 3: the gradient is recovered from the update as two products and their sum."""
        del sizes
        return 3

    def state(self) -> State:
        """Return the state after the steps."""
        unscaled, scale = self._arrangement.points(self._unscaled), self._scales[-1][:, None]
        if not self._linear:
            return {"weights": unscaled}
        weights = self._problem.array(scale) * unscaled
        return {"weights": weights, "unscaled": unscaled, "scale": device_put(scale, self._problem.like)}

    def step(self, number: int | Array, *, norms: bool) -> Step:
        """Do the next step, ``number`` (from 0) of the steps; see `Descent`."""
        scale, batch = entry(self._before, number), self._batch(number)
        data_loss, accuracy, updates = self._problem.data_loss_and_parts(
            self._arrangement,
            self._unscaled,
            batch,
            scale=scale if self._linear else None,
            factor=entry(self._factors, number),
        )
        sums: dict[RowRange, Sequence[Array]] = {}
        for rows, update in cache_sized_rows(self._problem, self._arrangement, updates):
            sums[rows] = self._update(self._objective_of(rows), update, number, norms=norms)
        penalty, *squares = sums_per_trial(self._arrangement, sums)
        measures = (data_loss, scale[:, 0, 0] ** 2 * penalty, accuracy)  # a scale other than 1 occurs with L2 only
        if not norms:
            return measures, ()
        gradient, unscaled = (array_namespace(square).sqrt(square) for square in squares)
        return measures, (gradient, gradient * entry(self._ratios, number) / unscaled)

    def _objective_of(self, rows: RowRange) -> _RowObjective:
        if rows not in self._objectives:
            # Padding between the trials' rows counts as the first trial's.
            owners = self._arrangement.layouts[rows.matrix].owners()[rows.start : rows.stop]
            self._objectives[rows] = _RowObjective.of(self._problem, rows, owners, self._renewals)
        return self._objectives[rows]

    def _update(self, of_rows: _RowObjective, update: Array, number: int | Array, *, norms: bool) -> tuple[Array, ...]:
        """Update some rows, and return each one's share of the penalty of the unscaled weights, ``(H,)``.

        With ``norms``, return also its share of the squared norms of the gradient and of the new unscaled weights.
        """
        matrix, place = of_rows.rows.matrix, slice(of_rows.rows.start, of_rows.rows.stop)
        unscaled = self._unscaled[matrix][place, :]
        columns = (entry(column, number) for column in self._of_rows[matrix])
        rate, renewal, per_update, per_unscaled = (column[place, :] for column in columns)
        penalty = of_rows.objective.regularization * of_rows.objective.penalties(unscaled)
        if of_rows.not_decaying:
            update -= rate * of_rows.not_decaying.regularization_gradient(unscaled)
        gradient = squared_norm(per_update * update + per_unscaled * unscaled) if norms else None
        if of_rows.renewed[number] if isinstance(number, int) else any(of_rows.renewed):
            unscaled *= renewal
        unscaled += update
        return (penalty, gradient, squared_norm(unscaled)) if norms else (penalty,)


class _OfRows(NamedTuple):
    """Numbers of every step and row, ``(S, H, 1)``: gradient = per_update * update + per_unscaled * unscaled."""

    rate: Array
    renewal: Array
    per_update: Array
    per_unscaled: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowObjective:
    """The objective of some of a group's rows; it treats each row as a trial.

    ``not_decaying`` is the same objective with strength 0 in the rows whose regularizer is a decay (L2); None if no
    row has another penalty. ``renewed`` ``(S,)`` says whether a step resets the scale of any row.
    """

    rows: RowRange
    objective: Objective
    not_decaying: Objective | None
    renewed: Sequence[bool]

    @classmethod
    def of(cls, problem: Problem, rows: RowRange, owners: np.ndarray, renewals: np.ndarray) -> _RowObjective:
        trials = [problem.trials[k] for k in owners.tolist()]
        objective = Objective.of(trials, like=problem.like)
        not_decaying = np.array([t.regularization > 0 and not t.regularizer.decay for t in trials])
        strength = objective.regularization * problem.array(not_decaying)
        return cls(
            rows=rows,
            objective=objective,
            not_decaying=dataclasses.replace(objective, regularization=strength) if not_decaying.any() else None,
            renewed=(renewals[:, owners] != 1).any(axis=1).tolist(),
        )


def scales(
    scale: np.ndarray, decays: np.ndarray, within: tuple[float, float] = _RANGE
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scales ``(S + 1, K)`` from ``scale`` ``(K,)`` on, and the factors on the unscaled weights ``(S, K)``.

    Each step multiplies the weights by ``decays`` ``(S, K)``. A scale that leaves ``within`` is reset to 1.

    >>> scales(np.array([1.0]), np.array([[0.75], [0.5], [0.9]]))[0].ravel().tolist()
    [1.0, 0.75, 1.0, 0.9]
    """
    every, renewals = [scale], []
    for decay in decays:
        after = every[-1] * decay
        kept = (np.abs(after) >= within[0]) & (np.abs(after) <= within[1])
        renewals.append(np.where(kept, 1.0, after))
        every.append(np.where(kept, after, 1.0))
    return np.array(every), np.array(renewals)
