"""Steps of plain gradient descent with few passes over the weights: they decay as one, and the product is the update.

The learning rate multiplies the gradient with respect to the scores, a small array, so that what is had by
backpropagation is the update itself. L2 takes the same fraction off all weights of a trial at a step. Where scores are
linear in the weights, these are kept as ``scale * unscaled``, and their decay is one number (Bottou 2012, "Stochastic
Gradient Descent Tricks", section 5.1, for sparse data; here it spares the memory's bandwidth).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.devices import host, placed
from tasks.fused.descent import Owned, Step, in_cache, rates_of, squared_norm, sums
from tasks.fused.objective import Objective
from tasks.fused.problem import Problem
from tasks.fused.state import State
from tasks.models.model import ScoreLinear

# Unscaled weights whose scale leaves this range are multiplied by the scale, which is 1 again.
_RANGE = (0.5, 2.0)

# Of an update by less, single precision could not tell the gradient; it changes no weights but those near 0.
_LEAST_RATE = 1e-36


class ScaledDescent:
    """Consecutive steps of a group from one of its states; see `Descent`."""

    def __init__(self, problem: Problem, state: State, steps: range) -> None:
        self._problem, self._steps = problem, steps
        self._arrangement = problem.arrange(problem.minibatches.at(0))
        self._linear = isinstance(problem.model, ScoreLinear)
        self._unscaled = self._arrangement.rows(state["unscaled" if self._linear else "weights"])
        rates = np.maximum(rates_of(problem, steps), _LEAST_RATE)
        decays = np.array([trial.regularizer.decay * trial.regularization for trial in problem.trials])
        scale = host(state["scale"])[:, 0] if self._linear else np.ones(len(problem.trials))
        self._scales, self._renewals = scales(scale, 1 - rates * decays, _RANGE if self._linear else (1, 1))
        before, after = self._scales[:-1], self._scales[1:]
        self._parts: dict[Owned, _Part] = {}
        # What the steps need of every trial, (S, K, 1, 1), and of every row, (S, H, 1): one copy to a device each.
        self._before = problem.array(before[..., None, None])
        self._factors = problem.array((-rates / after)[..., None, None])
        self._ratios = placed(rates / np.abs(after), problem.like)
        of_trials = (rates, self._renewals, -after / rates, decays * before)
        self._of_rows = [
            _OfRows(*(problem.array(values[:, layout.owners(), None]) for values in of_trials))
            for layout in self._arrangement.layouts
        ]

    @staticmethod
    def init(problem: Problem, weights: Array) -> State:
        """Return weights ``(K, P)`` and, where they are scaled, the unscaled and the scales ``(K, 1)``."""
        if not isinstance(problem.model, ScoreLinear):
            return {"weights": weights}
        xp = array_namespace(weights)
        scale = xp.ones((weights.shape[0], 1), dtype=xp.float64, device=getattr(weights, "device", None))
        return {"weights": weights, "unscaled": weights, "scale": scale}

    def state(self) -> State:
        """Return the state after the steps."""
        unscaled, scale = self._arrangement.points(self._unscaled), self._scales[-1][:, None]
        if not self._linear:
            return {"weights": unscaled}
        weights = self._problem.array(scale) * unscaled
        return {"weights": weights, "unscaled": unscaled, "scale": placed(scale, self._problem.like)}

    def step(self, number: int, *, norms: bool) -> Step:
        """Do the next step, ``number`` (from 0) of these; see `Descent`."""
        scale, batch = self._before[number, ...], self._problem.minibatches.at(self._steps[number] - 1)
        data_loss, hits, updates = self._problem.data_loss_and_parts(
            self._arrangement,
            self._unscaled,
            batch,
            scale=scale if self._linear else None,
            factor=self._factors[number, ...],
        )
        told: dict[Owned, Sequence[Array]] = {}
        for matrix, place, update in updates:
            for rows in in_cache(self._problem, self._arrangement, matrix, place):
                mine = update[rows.start - place.start : rows.stop - place.start, :]
                told[rows] = self._update(self._part(rows), mine, number, norms=norms)
        order = sorted(told)
        penalty, *squares = sums(self._arrangement, order, [told[rows] for rows in order])
        measures = (data_loss, scale[:, 0, 0] ** 2 * penalty, hits)  # where it is not 1, the penalty is L2
        if not norms:
            return measures, ()
        gradient, unscaled = (array_namespace(square).sqrt(square) for square in squares)
        return measures, (gradient, gradient * self._ratios[number, ...] / unscaled)

    def _part(self, rows: Owned) -> _Part:
        if rows not in self._parts:
            # A row between those of the trials that nobody has is treated as one of the first.
            owners = self._arrangement.layouts[rows.matrix].owners()[rows.start : rows.stop]
            self._parts[rows] = _Part.of(self._problem, rows, owners, self._renewals)
        return self._parts[rows]

    def _update(self, part: _Part, update: Array, number: int, *, norms: bool) -> tuple[Array, ...]:
        """Update some rows, and return their parts of the penalty of the unscaled, ``(H,)``.

        With ``norms``, return also those of the squared norms of the gradient and of the new unscaled weights.
        """
        matrix, place = part.rows.matrix, slice(part.rows.start, part.rows.stop)
        unscaled = self._unscaled[matrix][place, :]
        rate, renewal, per_update, per_unscaled = (column[number, place, :] for column in self._of_rows[matrix])
        penalty = part.objective.regularization * part.objective.penalties(unscaled)
        if part.not_decaying:
            update -= rate * part.not_decaying.regularization_gradient(unscaled)
        gradient = squared_norm(per_update * update + per_unscaled * unscaled) if norms else None
        if part.renewed[number]:
            unscaled *= renewal
        unscaled += update
        return (penalty, gradient, squared_norm(unscaled)) if norms else (penalty,)


class _OfRows(NamedTuple):
    """What the steps need of every row, ``(S, H, 1)``; the last two make a gradient of update and unscaled."""

    rate: Array
    renewal: Array
    per_update: Array
    per_unscaled: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Some of a group's rows, their objective, and that of the ones whose regularizer is no decay, where any are.

    To the objective each row is a trial. ``renewed`` ``(S,)`` says whether any row's scale is at a step.
    """

    rows: Owned
    objective: Objective
    not_decaying: Objective | None
    renewed: Sequence[bool]

    @classmethod
    def of(cls, problem: Problem, rows: Owned, owners: np.ndarray, renewals: np.ndarray) -> _Part:
        trials = [problem.trials[k] for k in owners.tolist()]
        objective = Objective.of(trials, like=problem.like)
        others = np.array([t.regularization > 0 and not t.regularizer.decay for t in trials])
        strength = objective.regularization * problem.array(others)
        return cls(
            rows=rows,
            objective=objective,
            not_decaying=dataclasses.replace(objective, regularization=strength) if others.any() else None,
            renewed=(renewals[:, owners] != 1).any(axis=1).tolist(),
        )


def scales(
    scale: np.ndarray, decays: np.ndarray, within: tuple[float, float] = _RANGE
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scales ``(S + 1, K)`` from ``scale`` ``(K,)`` on, and by what the unscaled are multiplied, ``(S, K)``.

    ``decays`` ``(S, K)`` is what each step multiplies the weights by. A scale that leaves ``within`` is 1 again.

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
