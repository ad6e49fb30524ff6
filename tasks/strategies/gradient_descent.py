"""Following the gradient: minibatch gradient descent, full batch and batch size 1 included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from tasks.devices import host
from tasks.errors import require
from tasks.optimizers import Lbfgs, Sgd
from tasks.problem import Problem
from tasks.strategies import lbfgs, scaled_descent
from tasks.strategies.descent import Descent
from tasks.strategies.optimizer_descent import OptimizerDescent
from tasks.strategies.scaled_descent import ScaledDescent
from tasks.strategies.strategy import MEASURES, Measured, State


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
        optimizer = problem.trials[0].optimizer
        if isinstance(optimizer, Lbfgs):
            return lbfgs.init(weights)
        if isinstance(optimizer, Sgd):
            return scaled_descent.init(weights)
        return {"weights": weights} | dict(optimizer.init(weights))

    def advance(self, problem: Problem, state: State, start: int, stop: int) -> tuple[State, Measured]:
        """Do steps ``start + 1`` to ``stop``.

        Measured are also ``gradient_norm``, and ``update_ratio``: the norm of the update over that of the weights
        it leads to. They are taken every ``record_every`` steps and NaN at the others.
        """
        if isinstance(problem.trials[0].optimizer, Lbfgs):
            return lbfgs.advance(problem, state, start, stop)
        steps = range(start + 1, stop + 1)
        descent = _descent(problem, state, steps)
        measured, norms, recorded = [], [], []
        for number, step in enumerate(steps):
            # At the steps of the curve's points only: at every step it would cost some percent of it.
            wanted = step % problem.trials[0].record_every == 0
            measures, more = descent.step(number, norms=wanted)
            measured.append(measures)
            if wanted:
                norms.append(more)
                recorded.append(number)
        everything = dict(zip(MEASURES, _columns(measured), strict=True))
        for name in ("gradient_norm", "update_ratio"):
            everything[name] = np.full((stop - start, len(problem.trials)), np.nan)
        for name, column in zip(("gradient_norm", "update_ratio"), _columns(norms), strict=False):
            everything[name][recorded] = column
        return descent.state(), everything


def _descent(problem: Problem, state: State, steps: range) -> Descent:
    """Return the descent of some steps: of plain gradient descent the one with fewer passes over the weights."""
    kind = ScaledDescent if isinstance(problem.trials[0].optimizer, Sgd) else OptimizerDescent
    return kind(problem, state, steps)


def _columns(measured: Sequence[Sequence[Any]]) -> list[np.ndarray]:
    """Return what was measured step by step as ``(S, K)`` arrays: one copy from a device for each."""
    return [host(array_namespace(*column).stack(column)) for column in zip(*measured, strict=True)]


def _scale(strategy: Any) -> float:
    assert isinstance(strategy, GradientDescent)
    return strategy.initial_scale
