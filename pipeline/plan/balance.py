"""Load balancing: into how many parts to split trials that can be fused, so that all workers end together."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.cost import Cost

WORTHWHILE = 0.98
"""Parts are split further if that brings the end of the last worker to at most this fraction of what it was."""

MAX_ROUNDS = 8
"""The most parts of equal size that each worker is given at first; with more, the workers end together anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Trials that can be fused: how many, their cost, and the most in one part (``widest``)."""

    trials: int
    cost: Cost
    widest: int

    def part_cost(self, parts: int) -> float:
        """Return the cost of the largest part, of ``parts``."""
        return self.cost.of(-(-self.trials // parts))


def balance(loads: Sequence[Load], busy: Sequence[float]) -> list[int]:
    """Return into how many parts to split each load, for workers that are already ``busy`` that long.

    The parts go to the worker that is free first, the most costly first. Of the assignments that end about as early,
    the one with the fewest parts is taken.

    >>> balance([Load(trials=48, cost=Cost(shared=3.0, own=1.0), widest=128)], [0.0] * 4)
    [4]
    """
    if not loads:
        return []
    seeds = dict.fromkeys(_even(loads, busy, rounds) for rounds in range(MAX_ROUNDS + 1))
    assignments = [_with_finer_parts(_Assignment(loads, seed, busy)) for seed in seeds]
    best = min(assignment.end for assignment in assignments)
    return list(min((one.counts for one in assignments if WORTHWHILE * one.end <= best), key=sum))


def _even(loads: Sequence[Load], busy: Sequence[float], rounds: int) -> tuple[int, ...]:
    """Return the numbers of parts with which all workers end together after ``rounds`` parts each (0: any number).

    They are those of the earliest end by which all parts fit, with no part longer than a round.
    """
    trials, shared, own, widest = np.array([(load.trials, *load.cost, load.widest) for load in loads], dtype=float).T
    started = np.array(busy)

    def counts(end: float) -> np.ndarray:
        width = np.clip(np.floor((end / rounds - shared) / own), 1, widest) if rounds else widest
        parts: np.ndarray = np.ceil(trials / width)
        return parts

    def fits(end: float) -> bool:
        parts, round_ = counts(end), end / rounds
        part_cost = shared + own * np.ceil(trials / parts)
        # A part takes an equal share of a round: the rest of a round is too short for another part.
        share = np.maximum(part_cost, round_ / np.maximum(np.floor(round_ / part_cost), 1))
        return bool((parts * share).sum() <= np.maximum(end - started, 0).sum())

    # An upper bound: a single worker, and parts of one trial that each fill half a round.
    low, high = 0.0, float(started.max() + 2 * MAX_ROUNDS * (trials * (shared + own)).sum())
    while rounds and high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return tuple(int(count) for count in counts(high))


class _Assignment:
    """Loads split into ``counts`` parts, assigned the most costly first to the worker that is free first.

    ``end`` is that of the worker that ends last, ``last`` are its loads.
    """

    def __init__(self, loads: Sequence[Load], counts: tuple[int, ...], busy: Sequence[float]) -> None:
        self.loads, self.counts, self.busy = loads, counts, busy
        parts = sorted(
            (-load.part_cost(count), place)
            for place, (load, count) in enumerate(zip(loads, counts, strict=True))
            for _ in range(count)
        )
        free = [(until, worker) for worker, until in enumerate(busy)]
        heapq.heapify(free)
        given: list[set[int]] = [set() for _ in free]
        for cost, place in parts:
            until, worker = free[0]
            given[worker].add(place)
            heapq.heapreplace(free, (until - cost, worker))
        self.end, latest = max(free)
        self.last = given[latest]
        # A soft maximum of the workers' ends: it is lower where fewer workers end last.
        self.imbalance = self.end * sum((until / self.end) ** 8 for until, _ in free) ** (1 / 8)


def _with_finer_parts(assignment: _Assignment) -> _Assignment:
    """Split the loads of the worker that ends last into one part more, as long as that is worthwhile."""
    while True:
        counts = assignment.counts
        finer = [
            _Assignment(assignment.loads, (*counts[:place], counts[place] + 1, *counts[place + 1 :]), assignment.busy)
            for place in sorted(assignment.last)
            if counts[place] < assignment.loads[place].trials
        ]
        best = min(finer, key=lambda other: other.imbalance, default=assignment)
        if best.imbalance >= WORTHWHILE * assignment.imbalance:
            return assignment
        assignment = best
