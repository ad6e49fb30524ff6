"""Unit perturbations: the searches' random steps at scale 1, drawn in blocks of steps, shared by trials of one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.arrays.array import Array
from tasks.arrays.devices import staging, take_rows
from tasks.fused.parallel import parallel_map
from tasks.fused.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbations:
    """The model's draws of a block of steps, ``draws (J, M, P)``, for the ``J`` different seeds of a group.

    ``seed_index (K,)`` is the index of each trial's seed: trials of one seed use the same directions, each at its own
    scale, and share their products. The steps are members ``first`` to M of the block; the members before are padding,
    zero.
    """

    draws: Array
    seed_index: np.ndarray
    first: int

    def members(self) -> range:
        """Return the indices of the steps in the block."""
        return range(self.first, self.draws.shape[1])

    def of_trials(self, array: Array) -> Array:
        """Return each trial's entry of ``(J, ...)``, ``(K, ...)``; ``(1, ...)``, for broadcasting, where J is 1."""
        shared = array.shape[0] == 1
        same = np.array_equal(self.seed_index, np.arange(array.shape[0]))
        return array if shared or same else take_rows(array, self.seed_index)


def perturbations(problem: Problem, numbers: range, *, first: int = 0) -> Perturbations:
    """Return the unit perturbations of the steps ``numbers``, after ``first`` members of padding."""
    seeds = problem.seeds
    seed_index = np.array([seeds.index(trial.seed) for trial in problem.trials])
    draws = staging((len(seeds), first + len(numbers), problem.size), problem.like)
    draws[:, :first] = 0

    def draw(some: np.ndarray) -> None:
        for number in some.tolist():
            for j, seed in enumerate(seeds):
                problem.draw(seed, "perturbations", numbers.start + number, out=draws[j, first + number])

    parallel_map(draw, np.array_split(np.arange(len(numbers)), problem.threads), threads=problem.threads)
    return Perturbations(draws=problem.array(draws), seed_index=seed_index, first=first)
