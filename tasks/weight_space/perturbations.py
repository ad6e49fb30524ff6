"""Unit perturbations: the random directions of the searches, shared by trials of one seed, drawn by blocks of steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from array_api_compat import is_numpy_array

from tasks.arrays.array import Array
from tasks.arrays.devices import rows, staging
from tasks.fused.problem import Problem, in_order


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbations:
    """The model's draws of a block of steps, ``draws (J, M, P)``, for the ``J`` different seeds of a group.

    ``place (K,)`` is each trial's place among the seeds: trials of one seed see the same directions, each at
    its own scale, and share their products. The steps are members ``first`` to M of the block; what stands before
    them is zero.
    """

    draws: Array
    place: np.ndarray
    first: int

    def members(self) -> range:
        """Return the places of the steps in the block."""
        return range(self.first, self.draws.shape[1])

    def of_trials(self, array: Array) -> Array:
        """Return what each trial takes of ``(J, ...)``, ``(K, ...)``; what one seed has for all is ``(1, ...)``."""
        shared = array.shape[0] == 1
        return array if shared or np.array_equal(self.place, np.arange(array.shape[0])) else rows(array, self.place)


def perturbations(problem: Problem, numbers: range, *, first: int = 0) -> Perturbations:
    """Return the unit perturbations of the steps ``numbers``, ``first`` places into their block."""
    seeds = problem.seeds
    place = np.array([seeds.index(trial.seed) for trial in problem.trials])
    draws = staging((len(seeds), first + len(numbers), problem.size), problem.like)
    draws[:, :first] = 0

    def draw(some: np.ndarray) -> None:
        for number in some.tolist():
            for j, seed in enumerate(seeds):
                problem.draw(seed, "perturbations", numbers.start + number, out=draws[j, first + number])

    in_order(draw, np.array_split(np.arange(len(numbers)), problem.threads), threads=problem.threads)
    return Perturbations(draws=problem.array(draws), place=place, first=first)


def drawn_ahead(
    problem: Problem, blocks: Iterable[range], draw: Callable[[Problem, range], Perturbations]
) -> Iterator[tuple[range, Perturbations]]:
    """Yield blocks of steps with what ``draw`` makes of them; while a device computes, the host draws the next ones."""
    if is_numpy_array(problem.like):
        yield from ((numbers, draw(problem, numbers)) for numbers in blocks)
        return
    with ThreadPoolExecutor(1) as ahead:
        waiting: deque[tuple[range, Future[Perturbations]]] = deque()
        for numbers in blocks:
            waiting.append((numbers, ahead.submit(draw, problem, numbers)))
            if len(waiting) == 2:
                ready, drawn = waiting.popleft()
                yield ready, drawn.result()
        yield from ((numbers, drawn.result()) for numbers, drawn in waiting)
