"""What a descent is: consecutive steps of a fused group along the gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.devices import double
from tasks.fused.problem import Problem
from tasks.fused.state import State
from tasks.models.model import Arrangement

# The `MEASURES` of a step, and what else is told of it, ``(K,)`` each.
Step = tuple[Sequence[Array], Sequence[Array]]


class Descent(Protocol):
    """Consecutive steps of a group from one of its states."""

    def __init__(self, problem: Problem, state: State, steps: range) -> None: ...

    @staticmethod
    def init(problem: Problem, weights: Array) -> State:
        """Return the state before the first step, at weights ``(K, P)``."""

    def step(self, number: int, *, norms: bool) -> Step:
        """Do the next step, ``number`` (from 0) of these, and return its `MEASURES`.

        With ``norms`` it is also told the norm of the gradient, and that of the update over that of the weights.
        """

    def state(self) -> State:
        """Return the state after the steps."""


class Owned(NamedTuple):
    """Some consecutive rows of a matrix of the arrangement, so few that they stay in cache."""

    matrix: int
    start: int
    stop: int


def in_cache(problem: Problem, arrangement: Arrangement, matrix: int, place: slice) -> Iterator[Owned]:
    """Yield the rows at a place of a matrix, a few at a time, but for those after the last trial's."""
    columns = list(problem.shapes.values())[matrix][1]
    stop = min(place.stop, int(arrangement.layouts[matrix].places.max()) + 1)
    for piece in problem.parts(stop - place.start, columns):
        yield Owned(matrix, place.start + piece.start, place.start + piece.stop)


def sums(arrangement: Arrangement, parts: Sequence[Owned], told: Sequence[Sequence[Array]]) -> list[Array]:
    """Return the sums ``(K,)`` over each trial's rows of what every part tells of its rows, ``(H,)`` each.

    The parts are in the order of their rows, and hold all that a trial has.
    """
    totals: list[Array] = []
    for number, layout in enumerate(arrangement.layouts):
        of_matrix = [numbers for part, numbers in zip(parts, told, strict=True) if part.matrix == number]
        columns = [layout.sums(column) for column in zip(*of_matrix, strict=True)]
        totals = columns if not totals else [before + more for before, more in zip(totals, columns, strict=True)]
    return totals


def rates_of(problem: Problem, steps: range) -> np.ndarray:
    """Return the learning rates of some steps, ``(S, K)``."""
    return np.array([[t.learning_rate * t.schedule.factor(step, t.steps) for t in problem.trials] for step in steps])


def squared_norm(rows: Array) -> Array:
    """Return the squared Euclidean norm of every row of ``(H, D)``, float64 ``(H,)``.

    >>> squared_norm(np.array([[3.0, 4.0]]))
    array([25.])
    """
    return double(array_namespace(rows).vecdot(rows, rows, axis=-1))
