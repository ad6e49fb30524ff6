"""Steps of gradient descent by an elementwise update rule, row by row: a part of the parameters at a time, in cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.stacking import stack
from tasks.fused.descent import Owned, Step, in_cache, rates_of, squared_norm, sums
from tasks.fused.objective import Objective
from tasks.fused.problem import Problem
from tasks.fused.state import State
from tasks.optimizers import Optimizer
from tasks.strategies.plain_descent import PlainDescent


class RowDescent:
    """Consecutive steps of a group from one of its states; see `Descent`.

    Rows are updated as soon as their part of the gradient is there, a few at a time.
    """

    def __init__(self, problem: Problem, state: State, steps: range) -> None:
        self._problem, self._steps = problem, steps
        self._arrangement = problem.arrange(problem.minibatches.at(0))
        self._now = {name: self._arrangement.rows(array) for name, array in state.items()}
        self._parts: dict[Owned, _Part] = {}
        # Of every row of every matrix, (S, H, 1): one copy to a device for all of them.
        rates = rates_of(problem, steps)
        self._rates = [problem.array(rates[:, layout.owners(), None]) for layout in self._arrangement.layouts]

    @staticmethod
    def init(problem: Problem, weights: Array) -> State:
        """Return the weights and the optimiser's state."""
        return PlainDescent.init(problem, weights)

    def state(self) -> State:
        """Return the state after the steps."""
        return {name: self._arrangement.points(rows) for name, rows in self._now.items()}

    def step(self, number: int, *, norms: bool) -> Step:
        """Do the next step, ``number`` (from 0) of these; see `Descent`."""
        step = self._steps[number]
        batch = self._problem.minibatches.at(step - 1)
        data_loss, hits, parts = self._problem.data_loss_and_parts(self._arrangement, self._now["weights"], batch)
        told: dict[Owned, Sequence[Array]] = {}
        for matrix, place, gradient in parts:
            for rows in in_cache(self._problem, self._arrangement, matrix, place):
                mine = gradient[rows.start - place.start : rows.stop - place.start, :]
                rates = self._rates[matrix][number, rows.start : rows.stop, :]
                told[rows] = self._part(rows).update(self._now, mine, rates, step, norms=norms)
        order = sorted(told)
        penalty, *squares = sums(self._arrangement, order, [told[rows] for rows in order])
        if not norms:
            return (data_loss, penalty, hits), ()
        gradient, update, weights = (array_namespace(square).sqrt(square) for square in squares)
        return (data_loss, penalty, hits), (gradient, update / weights)

    def _part(self, rows: Owned) -> _Part:
        if rows not in self._parts:
            owners = self._arrangement.layouts[rows.matrix].owners()[rows.start : rows.stop]
            self._parts[rows] = _Part.of(self._problem, rows, owners)
        return self._parts[rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Some rows of a group, and what is done to their weights alone: to the rule each row is a trial."""

    rows: Owned
    objective: Objective
    optimizer: Optimizer

    @classmethod
    def of(cls, problem: Problem, rows: Owned, owners: np.ndarray) -> _Part:
        trials = [problem.trials[k] for k in owners.tolist()]
        return cls(
            rows=rows,
            objective=Objective.of(trials, like=problem.like),
            optimizer=stack([trial.optimizer for trial in trials], like=problem.like, trailing=1),
        )

    def update(
        self, now: dict[str, list[Array]], gradient: Array, rates: Array, step: int, *, norms: bool
    ) -> tuple[Array, ...]:
        """Update weights and optimiser state of ``now`` in place, from the rows' gradient of the data loss.

        The gradient is overwritten. Return the rows' parts of the regularization loss and, with ``norms``, of the
        squared norms of gradient, update and new weights, ``(H,)`` each.
        """
        matrix, start, stop = self.rows
        mine = {name: matrices[matrix][start:stop, :] for name, matrices in now.items()}
        weights = mine.pop("weights")
        penalty = self.objective.regularization * self.objective.penalties(weights)
        gradient += self.objective.regularization_gradient(weights)
        square = squared_norm(gradient) if norms else None
        update, memory = self.optimizer.update(gradient, mine, learning_rate=rates, step=step)
        weights += update
        for name, array in memory.items():
            now[name][matrix][start:stop, :] = array
        return (penalty, square, squared_norm(update), squared_norm(weights)) if norms else (penalty,)
