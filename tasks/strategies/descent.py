"""What a descent is: consecutive steps of a fused group along the gradient, its weights laid out as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace

from tasks.devices import double
from tasks.problem import Problem
from tasks.products import Layout
from tasks.strategies.strategy import State

# The `MEASURES` of a step, and what else is told of it, ``(K,)`` each.
Step = tuple[Sequence[Any], Sequence[Any]]


class Descent(Protocol):
    """Consecutive steps of a group from one of its states."""

    def step(self, number: int, *, norms: bool) -> Step:
        """Do the next step, ``number`` (from 0) of these, and return its `MEASURES`.

        With ``norms`` it is also told the norm of the gradient, and that of the update over that of the weights.
        """

    def state(self) -> State:
        """Return the state after the steps."""


def laid_out(array: Any, layout: Layout) -> Any:
    """Return ``(K, C, D)`` as rows ``(H, D)`` in an array of their own, to be updated in place."""
    return array_namespace(array).asarray(layout.rows(array), copy=True)


def owned(problem: Problem, layout: Layout) -> list[tuple[slice, np.ndarray]]:
    """Return the rows in parts that stay in cache, up to the last that a trial has, and whose each row is.

    A row between them that nobody has is treated as one of the first trial.
    """
    owners, last = layout.owners(), int(layout.places.max())
    return [(part, owners[part]) for part in problem.parts(last + 1, problem.shape[1])]


def rates_of(problem: Problem, steps: range) -> np.ndarray:
    """Return the learning rates of some steps, ``(S, K)``."""
    return np.array([[t.learning_rate * t.schedule.factor(step, t.steps) for t in problem.trials] for step in steps])


def squared_norm(rows: Any) -> Any:
    """Return the squared Euclidean norm of every row of ``(H, 1, D)``, float64 ``(H,)``.

    >>> squared_norm(np.array([[[3.0, 4.0]]]))
    array([25.])
    """
    return double(array_namespace(rows).vecdot(rows, rows, axis=-1))[:, 0]
