"""Following the gradient: minibatch gradient descent, full batch and batch size 1 included."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from tasks.devices import double, host
from tasks.errors import require
from tasks.objective import Objective
from tasks.optimizers import Lbfgs, Optimizer
from tasks.problem import Problem
from tasks.stacking import stack
from tasks.strategies import lbfgs
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
        if isinstance(problem.trials[0].optimizer, Lbfgs):
            return lbfgs.init(weights)
        return {"weights": weights} | dict(problem.trials[0].optimizer.init(weights))

    def advance(self, problem: Problem, state: State, start: int, stop: int) -> tuple[State, Measured]:
        """Do steps ``start + 1`` to ``stop``.

        Measured are also ``gradient_norm``, and ``update_ratio``: the norm of the update over that of the weights
        it leads to. They are taken every ``record_every`` steps and NaN at the others.
        """
        if isinstance(problem.trials[0].optimizer, Lbfgs):
            return lbfgs.advance(problem, state, start, stop)
        xp = array_namespace(problem.like)
        # Updated in place, part by part: the state that was given stays as it is.
        now = {name: xp.asarray(array, copy=True) for name, array in state.items()}
        parts = [_Part.of(problem, part) for part in problem.parts(math.prod(problem.shape))]
        rates = _rates(problem, range(start + 1, stop + 1))
        measured, norms, recorded = [], [], []
        for number, step in enumerate(range(start + 1, stop + 1)):
            # At the steps of the curve's points only: at every step it would cost some percent of it.
            wanted = step % problem.trials[0].record_every == 0
            measures, more = _step(problem, parts, now, rates[number, ...], step, norms=wanted)
            measured.append(measures)
            if wanted:
                norms.append(more)
                recorded.append(number)
        everything = dict(zip(MEASURES, _columns(measured), strict=True))
        for name in ("gradient_norm", "update_ratio"):
            everything[name] = np.full((stop - start, len(problem.trials)), np.nan)
        for name, column in zip(("gradient_norm", "update_ratio"), _columns(norms), strict=False):
            everything[name][recorded] = column
        return now, everything


def _step(
    problem: Problem, parts: Sequence[_Part], now: dict[str, Any], rates: Any, step: int, *, norms: bool
) -> tuple[tuple[Any, ...], list[Any]]:
    """Do one step, in place, and return its `MEASURES` and, with ``norms``, what else is told of it."""
    gradients, data_loss, hits = problem.data_loss_and_gradient(now["weights"], step)
    told = [part.update(now, gradients, rates, step, norms=norms) for part in parts]
    penalty, *more = (array_namespace(*column).concat(column) for column in zip(*told, strict=True))
    return (data_loss, penalty, hits), more


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Some of a group's trials: what is done to their weights alone, their place on the trial axis."""

    place: slice
    objective: Objective
    optimizer: Optimizer

    @classmethod
    def of(cls, problem: Problem, place: slice) -> _Part:
        trials = problem.trials[place]
        return cls(
            place=place,
            objective=Objective.of(trials, like=problem.like),
            optimizer=stack([trial.optimizer for trial in trials], like=problem.like, trailing=2),
        )

    def update(self, now: dict[str, Any], gradients: Any, rates: Any, step: int, *, norms: bool) -> tuple[Any, ...]:
        """Update weights and optimiser state of ``now`` in place, from the gradient of the data loss.

        ``gradients`` become those of the objective. Return the regularization loss and, with ``norms``, the
        norm of the gradient and the update's ratio.
        """
        mine = {name: array[self.place, ...] for name, array in now.items()}
        weights, gradient = mine.pop("weights"), gradients[self.place, ...]
        penalty = self.objective.regularization_loss(weights)
        gradient += self.objective.regularization_gradient(weights)
        update, memory = self.optimizer.update(gradient, mine, learning_rate=rates[self.place, ...], step=step)
        weights += update
        for name, array in memory.items():
            now[name][self.place, ...] = array
        return (penalty, norm(gradient), norm(update) / norm(weights)) if norms else (penalty,)


def norm(array: Any) -> Any:
    """Return the Euclidean norm of every trial's part of ``(K, C, D)``, float64 ``(K,)``.

    >>> norm(np.array([[[3.0, 4.0]]]))
    array([5.])
    """
    xp = array_namespace(array)
    flat = xp.reshape(array, (array.shape[0], -1))
    return xp.sqrt(double(xp.vecdot(flat, flat, axis=-1)))  # a trial at a time, so that K changes no bit


def _rates(problem: Problem, steps: range) -> Any:
    """Return the learning rates of some steps, ``(S, K, 1, 1)``: one copy to a device for all of them."""
    rates = [[t.learning_rate * t.schedule.factor(step, t.steps) for t in problem.trials] for step in steps]
    return problem.array(np.array(rates)[:, :, None, None])


def _columns(measured: Sequence[Sequence[Any]]) -> list[np.ndarray]:
    """Return what was measured step by step as ``(S, K)`` arrays: one copy from a device for each."""
    return [host(array_namespace(*column).stack(column)) for column in zip(*measured, strict=True)]


def _scale(strategy: Any) -> float:
    assert isinstance(strategy, GradientDescent)
    return strategy.initial_scale
