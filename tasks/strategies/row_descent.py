"""Gradient descent by an elementwise update rule, a cache-sized part of the rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.replay import entry
from tasks.fused.descent import (
    RowRange,
    Step,
    cache_sized_rows,
    copies_to_join,
    per_row,
    squared_norm,
    step_at,
    sums_per_trial,
)
from tasks.fused.objective import Objective
from tasks.fused.problem import Problem
from tasks.fused.state import State
from tasks.fused.update_rules import UpdateRules
from tasks.strategies.plain_descent import PlainDescent

if TYPE_CHECKING:
    from tasks.memory import Sizes
    from tasks.trial import Trial


class RowDescent:
    """Consecutive steps of a group from one of its states; see `Descent`.

    Rows are updated as soon as their part of the gradient is computed.
    """

    in_place: ClassVar[bool] = True

    def __init__(self, problem: Problem, state: State, steps: range) -> None:
        self._problem, self._steps = problem, steps
        self._arrangement = problem.arrange(problem.minibatches.at(0))
        self._batch = problem.minibatches.over(range(steps.start - 1, steps.stop - 1))
        rules = UpdateRules.of(problem.trials, like=problem.like)
        names = ("weights", *rules.names)
        self._now = {name: self._arrangement.rows(state[name]) for name in names}
        self._updates: dict[RowRange, _RowUpdate] = {}
        self._cuts = [rules.changes(layout.owners()) for layout in self._arrangement.layouts]
        self._rates = per_row(problem, self._arrangement, problem.learning_rates(steps))

    @staticmethod
    def init(problem: Problem, weights: Array) -> State:
        """Return the weights and the optimisers' state."""
        return PlainDescent.init(problem, weights)

    @staticmethod
    def bytes_per_trial(trial: Trial, sizes: Sizes, *, steps: int) -> int:
        """Return the bytes of the states and rates, and the larger of those of the products and of the next state."""
        products = (sizes.gradients + copies_to_join(trial)) * sizes.weights + sizes.of_examples
        after = (sizes.states + copies_to_join(trial)) * sizes.weights
        return 3 * sizes.states * sizes.weights + steps * sizes.rows + max(products, after)

    @staticmethod
    def temporaries(sizes: Sizes) -> int:
        """Return those of an update: the new state, a bias-corrected copy of it, a quotient and its two operands."""
        return 2 * sizes.states + 1

    def state(self) -> State:
        """Return the state after the steps."""
        return {name: self._arrangement.points(rows) for name, rows in self._now.items()}

    def step(self, number: int | Array, *, norms: bool) -> Step:
        """Do the next step, ``number`` (from 0) of the steps; see `Descent`."""
        batch, step = self._batch(number), step_at(self._steps.start, number, self._problem.like)
        data_loss, accuracy, parts = self._problem.data_loss_and_parts(self._arrangement, self._now["weights"], batch)
        measures: dict[RowRange, Sequence[Array]] = {}
        for rows, gradient in cache_sized_rows(self._problem, self._arrangement, parts, self._cuts):
            rates = entry(self._rates[rows.matrix], number)[rows.start : rows.stop, :]
            measures[rows] = self._update_of(rows).apply(self._now, gradient, rates, step, norms=norms)
        penalty, *squares = sums_per_trial(self._arrangement, measures)
        if not norms:
            return (data_loss, penalty, accuracy), ()
        of_gradient, update, weights = (array_namespace(square).sqrt(square) for square in squares)
        return (data_loss, penalty, accuracy), (of_gradient, update / weights)

    def _update_of(self, rows: RowRange) -> _RowUpdate:
        if rows not in self._updates:
            owners = self._arrangement.layouts[rows.matrix].owners()[rows.start : rows.stop]
            self._updates[rows] = _RowUpdate.of(self._problem, rows, owners)
        return self._updates[rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowUpdate:
    """The update of some rows of a group; objective and update rules treat each row as a trial."""

    rows: RowRange
    objective: Objective
    rules: UpdateRules

    @classmethod
    def of(cls, problem: Problem, rows: RowRange, owners: np.ndarray) -> _RowUpdate:
        trials = [problem.trials[k] for k in owners.tolist()]
        return cls(
            rows=rows,
            objective=Objective.of(trials, like=problem.like),
            rules=UpdateRules.of(trials, like=problem.like),
        )

    def apply(
        self, now: dict[str, list[Array]], gradient: Array, rates: Array, step: int | Array, *, norms: bool
    ) -> tuple[Array, ...]:
        """Update weights and optimiser state of ``now`` in place, from the rows' gradient of the data loss.

        The gradient is overwritten. Return each row's share of the regularization loss and, with ``norms``, of the
        squared norms of gradient, update and new weights, ``(H,)`` each.
        """
        matrix, start, stop = self.rows
        weights = now["weights"][matrix][start:stop, :]
        memory = {name: now[name][matrix][start:stop, :] for name in self.rules.names}
        penalty = self.objective.regularization * self.objective.penalties(weights)
        gradient += self.objective.regularization_gradient(weights)
        square = squared_norm(gradient) if norms else None
        update, after = self.rules.update(gradient, memory, learning_rate=rates, step=step)
        weights += update
        for name, array in after.items():
            now[name][matrix][start:stop, :] = array
        return (penalty, square, squared_norm(update), squared_norm(weights)) if norms else (penalty,)
