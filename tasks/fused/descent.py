"""The interface of a descent (consecutive gradient steps of a fused group), and what the row-wise descents share."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array
from tasks.arrays.devices import device_put, double
from tasks.arrays.replay import Replay
from tasks.fused.parallel import total
from tasks.fused.problem import Problem
from tasks.fused.state import MEASURES, State
from tasks.models.model import Arrangement, GradientPart, ScoreLinear

if TYPE_CHECKING:
    from tasks.memory import Sizes
    from tasks.trial import Trial

# The `MEASURES` of a step, and its norms where they are asked for, ``(K,)`` each.
Step = tuple[Sequence[Array], Sequence[Array]]


class Descent(Protocol):
    """Consecutive steps of a group from one of its states.

    ``in_place`` says that a step updates the arrays of the step before, so that a device can replay it.
    """

    in_place: ClassVar[bool]

    def __init__(self, problem: Problem, state: State, steps: range) -> None: ...

    @staticmethod
    def init(problem: Problem, weights: Array) -> State:
        """Return the state before the first step, at weights ``(K, P)``."""

    @staticmethod
    def bytes_per_trial(trial: Trial, sizes: Sizes, *, steps: int) -> int:
        """Return the bytes that a trial adds to its group in that many steps, but for those of `temporaries`.

        Three states are alive: that of the checkpoint, the one before the steps, and the current one.
        """

    @staticmethod
    def temporaries(sizes: Sizes) -> int:
        """Return how many arrays an update makes of the rows that are updated at once."""

    def step(self, number: int | Array, *, norms: bool) -> Step:
        """Do the next step, ``number`` (from 0) of ``steps``, and return its `MEASURES`.

        With ``norms``, return also the norm of the gradient, and the ratio of the norms of update and weights. A step
        in place also takes its number as an array of one integer on the device.
        """

    def state(self) -> State:
        """Return the state after the steps."""


class Replayed:
    """The steps of a descent in place on a device, recorded where that can be; see `Replay`."""

    def __init__(self, descent: Descent, like: Array) -> None:
        self._steps = {norms: Replay(functools.partial(_flat, descent, norms=norms), like) for norms in (False, True)}

    def step(self, number: int, *, norms: bool) -> Step:
        """Do the next step; see `Descent`."""
        values = self._steps[norms](number)
        return values[: len(MEASURES)], values[len(MEASURES) :]


def _flat(descent: Descent, number: Array, *, norms: bool) -> Sequence[Array]:
    measures, of_norms = descent.step(number, norms=norms)
    return [*measures, *of_norms]


def copies_to_join(trial: Trial) -> int:
    """Return how many copies of a trial's weights are made while its matrices are joined: a network has several."""
    return 0 if isinstance(trial.model, ScoreLinear) else 1


class RowRange(NamedTuple):
    """Consecutive rows of a matrix of the arrangement, few enough to stay in cache."""

    matrix: int
    start: int
    stop: int


def cache_sized_rows(
    problem: Problem, arrangement: Arrangement, parts: Iterable[GradientPart], cuts: Sequence[Sequence[int]] = ()
) -> Iterator[tuple[RowRange, Array]]:
    """Yield a few rows of a part at a time and their gradient, without the padding after the last trial's.

    ``cuts`` are the rows of every matrix that are not yielded together with the row before.
    """
    columns = [columns for _, columns in problem.shapes.values()]
    for matrix, place, gradient in parts:
        stop = min(place.stop, int(arrangement.layouts[matrix].places.max()) + 1)
        between = [row for row in (cuts[matrix] if cuts else ()) if place.start < row < stop]
        for first, last in itertools.pairwise([place.start, *between, stop]):
            for piece in problem.cache_sized_slices(last - first, columns[matrix]):
                rows = RowRange(matrix, first + piece.start, first + piece.stop)
                yield rows, gradient[rows.start - place.start : rows.stop - place.start, :]


def sums_per_trial(arrangement: Arrangement, values: Mapping[RowRange, Sequence[Array]]) -> list[Array]:
    """Return the sums ``(K,)`` over each trial's rows of the values ``(H,)`` of ranges that hold all of them."""
    sums = []
    for number, layout in enumerate(arrangement.layouts):
        of_matrix = [values[rows] for rows in sorted(values) if rows.matrix == number]
        sums.append([layout.sums(column) for column in zip(*of_matrix, strict=True)])
    return [total(column) for column in zip(*sums, strict=True)]


def step_at(first: int, number: int | Array, like: Array) -> int | Array:
    """Return ``first + number`` for an update rule: on a device a floating-point array of one number."""
    return first + (number if isinstance(number, int) else array_namespace(number).astype(number, like.dtype))


def per_row(problem: Problem, arrangement: Arrangement, values: np.ndarray) -> list[Array]:
    """Return values of every trial ``(..., K)`` for each row of every matrix, ``(..., H, 1)`` each."""
    there, like = problem.array(values), problem.like
    owners = [device_put(layout.owners(), like) for layout in arrangement.layouts]
    return [array_namespace(like).take(there, rows, axis=-1)[..., None] for rows in owners]


def squared_norm(rows: Array) -> Array:
    """Return the squared Euclidean norm of every row of ``(H, D)``, float64 ``(H,)``.

    Where the squares overflow in float32, from a norm of 1.8e19 on, they are taken in float64.

    >>> squared_norm(np.array([[3.0, 4.0]]))
    array([25.])
    """
    xp = array_namespace(rows)
    squares = double(xp.vecdot(rows, rows, axis=-1))
    # On a device, a test for overflow would have to wait, so float64 is computed in any case.
    if is_numpy_array(rows) and not bool(xp.any(xp.isinf(squares))):
        return squares
    wide = double(rows)
    return xp.where(xp.isinf(squares), xp.vecdot(wide, wide, axis=-1), squares)
