"""Following the gradient: minibatch gradient descent, full batch and batch size 1 included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.errors import require
from tasks.optimizers import Lbfgs
from tasks.problem import Problem, host
from tasks.stacking import per_trial, stack
from tasks.strategies import lbfgs
from tasks.strategies.strategy import Measured, State


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientDescent:
    """From ``initial_scale * N(0, 1)``, step after step along the negative gradient of a minibatch.

    One step is one evaluation of loss and gradient. Source: the notes, "Gradient Descent".
    """

    initial_scale: float = 1e-4

    def __post_init__(self) -> None:
        require(self.initial_scale >= 0, "strategy.initial_scale", "must be >= 0", self.initial_scale)

    def unused(self) -> frozenset[str]:
        """Return nothing: gradient descent uses every field."""
        return frozenset()

    def init(self, problem: Problem) -> State:
        """Return the initial weights and the optimiser's state."""
        weights = problem.initial_weights([_scale(trial.strategy) for trial in problem.trials])
        if isinstance(problem.trials[0].optimizer, Lbfgs):
            return lbfgs.init(weights)
        return {"weights": weights} | dict(problem.trials[0].optimizer.init(weights))

    def advance(self, problem: Problem, state: State, start: int, stop: int) -> tuple[State, Measured]:
        """Do steps ``start + 1`` to ``stop``."""
        if isinstance(problem.trials[0].optimizer, Lbfgs):
            return lbfgs.advance(problem, state, start, stop)
        optimizer = stack([trial.optimizer for trial in problem.trials], like=problem.like, trailing=2)
        weights, memory = state["weights"], {name: array for name, array in state.items() if name != "weights"}
        measured = []
        for step in range(start + 1, stop + 1):
            gradient, *measures = problem.loss_and_gradient(weights, step)
            rates = [t.learning_rate * t.schedule.factor(step, t.steps) for t in problem.trials]
            update, memory = optimizer.update(
                gradient, memory, learning_rate=per_trial(rates, like=problem.like, trailing=2), step=step
            )
            weights = weights + update
            measured.append(measures)
        data_loss, regularization_loss, hits = (
            np.stack([host(m) for m in column]) for column in zip(*measured, strict=True)
        )
        return {"weights": weights} | memory, {
            "data_loss": data_loss,
            "regularization_loss": regularization_loss,
            "accuracy": hits,
        }


def _scale(strategy: Any) -> float:
    assert isinstance(strategy, GradientDescent)
    return strategy.initial_scale
