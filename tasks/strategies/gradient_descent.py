"""Following the gradient: minibatch gradient descent, full batch and batch size 1 included."""

from __future__ import annotations

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
from tasks.products import Layout
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
        layout = problem.layout(len(problem.minibatches.at(start)))
        now = _laid(state, layout)
        owners = layout.owners()
        parts = [_Part.of(problem, part, owners) for part in problem.parts(layout.height, problem.shape[1])]
        rates = _rates(problem, range(start + 1, stop + 1), owners)
        measured, norms, recorded = [], [], []
        for number, step in enumerate(range(start + 1, stop + 1)):
            # At the steps of the curve's points only: at every step it would cost some percent of it.
            wanted = step % problem.trials[0].record_every == 0
            measures, more = _step(problem, layout, parts, now, rates[number, ...], step, norms=wanted)
            measured.append(measures)
            if wanted:
                norms.append(more)
                recorded.append(number)
        everything = dict(zip(MEASURES, _columns(measured), strict=True))
        for name in ("gradient_norm", "update_ratio"):
            everything[name] = np.full((stop - start, len(problem.trials)), np.nan)
        for name, column in zip(("gradient_norm", "update_ratio"), _columns(norms), strict=False):
            everything[name][recorded] = column
        return {name: layout.units(rows) for name, rows in now.items()}, everything


def _laid(state: State, layout: Layout) -> dict[str, Any]:
    """Return the state laid out as rows, in arrays of its own: they are updated in place, part by part."""
    return {name: array_namespace(array).asarray(layout.rows(array), copy=True) for name, array in state.items()}


def _step(
    problem: Problem,
    layout: Layout,
    parts: Sequence[_Part],
    now: dict[str, Any],
    rates: Any,
    step: int,
    *,
    norms: bool,
) -> tuple[tuple[Any, ...], list[Any]]:
    """Do one step, in place, and return its `MEASURES` and, with ``norms``, what else is told of it."""
    gradients, data_loss, hits = problem.data_loss_and_gradient(now["weights"], step, layout)
    told = [part.update(now, gradients, rates, step, norms=norms) for part in parts]
    xp = array_namespace(gradients)
    # What every row says, (H,), becomes what every trial says, (K,).
    penalty, *squares = (xp.sum(layout.units(xp.concat(column)), axis=-1) for column in zip(*told, strict=True))
    if not norms:
        return (data_loss, penalty, hits), []
    gradient, update, weights = (xp.sqrt(square) for square in squares)
    return (data_loss, penalty, hits), [gradient, update / weights]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Some of a group's rows, and what is done to their weights alone.

    To rules that are elementwise each row is a trial of one class, ``(H, 1, D)``. One that nobody has stays zero.
    """

    place: slice
    objective: Objective
    optimizer: Optimizer

    @classmethod
    def of(cls, problem: Problem, place: slice, owners: np.ndarray) -> _Part:
        trials = [problem.trials[k] for k in owners[place].tolist()]
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


def squared_norm(rows: Any) -> Any:
    """Return the squared Euclidean norm of every row of ``(H, 1, D)``, float64 ``(H,)``.

    >>> squared_norm(np.array([[[3.0, 4.0]]]))
    array([25.])
    """
    return double(array_namespace(rows).vecdot(rows, rows, axis=-1))[:, 0]


def _rates(problem: Problem, steps: range, owners: np.ndarray) -> Any:
    """Return the learning rate of every row at some steps, ``(S, H, 1, 1)``: one copy to a device for all of them."""
    rates = [[t.learning_rate * t.schedule.factor(step, t.steps) for t in problem.trials] for step in steps]
    return problem.array(np.array(rates)[:, owners, None, None])


def _columns(measured: Sequence[Sequence[Any]]) -> list[np.ndarray]:
    """Return what was measured step by step as ``(S, K)`` arrays: one copy from a device for each."""
    return [host(array_namespace(*column).stack(column)) for column in zip(*measured, strict=True)]


def _scale(strategy: Any) -> float:
    assert isinstance(strategy, GradientDescent)
    return strategy.initial_scale
