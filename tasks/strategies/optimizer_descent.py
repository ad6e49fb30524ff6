"""Steps of gradient descent by the update rule of any optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from tasks.objective import Objective
from tasks.optimizers import Optimizer
from tasks.problem import Problem
from tasks.stacking import stack
from tasks.strategies.descent import Step, laid_out, owned, rates_of, squared_norm
from tasks.strategies.strategy import State


class OptimizerDescent:
    """Consecutive steps of a group from one of its states; see `Descent`."""

    def __init__(self, problem: Problem, state: State, steps: range) -> None:
        self._problem, self._steps = problem, steps
        self._layout = problem.layout(problem.minibatches.batch_size)
        self._now = {name: laid_out(array, self._layout) for name, array in state.items()}
        self._parts = [_Part.of(problem, place, owners) for place, owners in owned(problem, self._layout)]
        # Of every row, (S, H, 1, 1): one copy to a device for all of them.
        self._rates = problem.array(rates_of(problem, steps)[:, self._layout.owners(), None, None])

    def state(self) -> State:
        """Return the state after the steps."""
        return {name: self._layout.units(rows) for name, rows in self._now.items()}

    def step(self, number: int, *, norms: bool) -> Step:
        """Do the next step, ``number`` (from 0) of these; see `Descent`."""
        step = self._steps[number]
        gradients, data_loss, hits = self._problem.data_loss_and_gradient(self._now["weights"], step, self._layout)
        rates = self._rates[number, ...]
        told = [part.update(self._now, gradients, rates, step, norms=norms) for part in self._parts]
        penalty, *squares = (self._layout.sums(column) for column in zip(*told, strict=True))
        if not norms:
            return (data_loss, penalty, hits), ()
        gradient, update, weights = (array_namespace(square).sqrt(square) for square in squares)
        return (data_loss, penalty, hits), (gradient, update / weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Some of a group's rows, and what is done to their weights alone.

    To rules that are elementwise each row is a trial of one class, ``(H, 1, D)``.
    """

    place: slice
    objective: Objective
    optimizer: Optimizer

    @classmethod
    def of(cls, problem: Problem, place: slice, owners: np.ndarray) -> _Part:
        trials = [problem.trials[k] for k in owners.tolist()]
        return cls(
            place=place,
            objective=Objective.of(trials, like=problem.like),
            optimizer=stack([trial.optimizer for trial in trials], like=problem.like, trailing=2),
        )

    def update(self, now: dict[str, Any], gradients: Any, rates: Any, step: int, *, norms: bool) -> tuple[Any, ...]:
        """Update weights and optimiser state of ``now`` in place, from the gradient of the data loss.

        ``gradients`` are overwritten. Return the rows' parts of the regularization loss and, with ``norms``, of the
        squared norms of gradient, update and new weights, ``(H,)`` each.
        """
        mine = {name: array[self.place, None, :] for name, array in now.items()}
        weights, gradient = mine.pop("weights"), gradients[self.place, None, :]
        penalty = self.objective.regularization_loss(weights)
        gradient += self.objective.regularization_gradient(weights)
        square = squared_norm(gradient) if norms else None
        update, memory = self.optimizer.update(gradient, mine, learning_rate=rates[self.place, ...], step=step)
        weights += update
        for name, array in memory.items():
            now[name][self.place, ...] = array[:, 0, :]
        return (penalty, square, squared_norm(update), squared_norm(weights)) if norms else (penalty,)
