"""Steps of gradient descent by an elementwise update rule, row by row: a part of the parameters at a time, in cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from tasks.descent import Owned, Step, owned, rates_of, squared_norm, sums
from tasks.objective import Objective
from tasks.optimizers import Optimizer
from tasks.problem import Problem
from tasks.stacking import stack
from tasks.state import State
from tasks.strategies.plain_descent import PlainDescent


class RowDescent:
    """Consecutive steps of a group from one of its states; see `Descent`."""

    def __init__(self, problem: Problem, state: State, steps: range) -> None:
        self._problem, self._steps = problem, steps
        self._arrangement = problem.arrange(problem.minibatches.at(0))
        self._now = {name: self._arrangement.rows(array) for name, array in state.items()}
        self._owned = owned(problem, self._arrangement)
        self._parts = [_Part.of(problem, part) for part in self._owned]
        # Of every row of every matrix, (S, H, 1): one copy to a device for all of them.
        rates = rates_of(problem, steps)
        self._rates = [problem.array(rates[:, layout.owners(), None]) for layout in self._arrangement.layouts]

    @staticmethod
    def init(problem: Problem, weights: Any) -> State:
        """Return the weights and the optimiser's state."""
        return PlainDescent.init(problem, weights)

    def state(self) -> State:
        """Return the state after the steps."""
        return {name: self._arrangement.points(rows) for name, rows in self._now.items()}

    def step(self, number: int, *, norms: bool) -> Step:
        """Do the next step, ``number`` (from 0) of these; see `Descent`."""
        step, arrangement = self._steps[number], self._arrangement
        batch = self._problem.minibatches.at(step - 1)
        gradients, data_loss, hits = self._problem.data_loss_and_gradient(arrangement, self._now["weights"], batch)
        rates = [matrix[number, ...] for matrix in self._rates]
        told = [part.update(self._now, gradients, rates, step, norms=norms) for part in self._parts]
        penalty, *squares = sums(arrangement, self._owned, told)
        if not norms:
            return (data_loss, penalty, hits), ()
        gradient, update, weights = (array_namespace(square).sqrt(square) for square in squares)
        return (data_loss, penalty, hits), (gradient, update / weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Some rows of a group, and what is done to their weights alone: to the rule each row is a trial."""

    rows: Owned
    objective: Objective
    optimizer: Optimizer

    @classmethod
    def of(cls, problem: Problem, rows: Owned) -> _Part:
        trials = [problem.trials[k] for k in rows.owners.tolist()]
        return cls(
            rows=rows,
            objective=Objective.of(trials, like=problem.like),
            optimizer=stack([trial.optimizer for trial in trials], like=problem.like, trailing=1),
        )

    def update(
        self, now: dict[str, list[Any]], gradients: list[Any], rates: list[Any], step: int, *, norms: bool
    ) -> tuple[Any, ...]:
        """Update weights and optimiser state of ``now`` in place, from the gradient of the data loss.

        ``gradients`` are overwritten. Return the rows' parts of the regularization loss and, with ``norms``, of the
        squared norms of gradient, update and new weights, ``(H,)`` each.
        """
        matrix, place, _ = self.rows
        mine = {name: matrices[matrix][place, :] for name, matrices in now.items()}
        weights, gradient = mine.pop("weights"), gradients[matrix][place, :]
        penalty = self.objective.regularization * self.objective.penalties(weights)
        gradient += self.objective.regularization_gradient(weights)
        square = squared_norm(gradient) if norms else None
        update, memory = self.optimizer.update(gradient, mine, learning_rate=rates[matrix][place, :], step=step)
        weights += update
        for name, array in memory.items():
            now[name][matrix][place, :] = array
        return (penalty, square, squared_norm(update), squared_norm(weights)) if norms else (penalty,)
