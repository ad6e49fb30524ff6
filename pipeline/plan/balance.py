"""Into how many parts the trials that can be computed as one are cut, so that all workers end together."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OVERHEAD = 3
"""What a part costs beside its trials, in trials: reading its examples and turning them into numbers."""

WORTHWHILE = 0.98
"""Parts are cut smaller if that brings the end of the last worker to at most this fraction of what it was."""

ROUNDS = 8
"""The most parts that each worker is first given of even size; more of them end as one, cut or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Trials that can be computed as one: how many, what one costs (in any unit), and the most in one part."""

    trials: int
    cost: float
    widest: int

    def part_cost(self, parts: int) -> float:
        """Return what the largest of so many parts costs."""
        return self.cost * (-(-self.trials // parts) + OVERHEAD)


def cut(loads: Sequence[Load], busy: Sequence[float]) -> list[int]:
    """Return into how many parts to cut each load, for workers that are ``busy`` for so long already.

    The parts go to the worker that is free first, the most costly first. Of the ways that end about as early,
    the one with the fewest parts is taken.

    >>> cut([Load(trials=48, cost=1.0, widest=128)], [0.0] * 4)
    [4]
    """
    if not loads:
        return []
    seeds = dict.fromkeys(_even(loads, busy, rounds) for rounds in range(ROUNDS + 1))
    schedules = sorted((_refined(_Schedule(loads, seed, busy)) for seed in seeds), key=lambda s: sum(s.counts))
    best = min(schedule.end for schedule in schedules)
    return list(next(schedule for schedule in schedules if WORTHWHILE * schedule.end <= best).counts)


def _even(loads: Sequence[Load], busy: Sequence[float], rounds: int) -> tuple[int, ...]:
    """Return the parts that the workers could end with together if each were given ``rounds`` of them (0: any).

    It is the earliest end before which there is room for all, with no part longer than its round.
    """
    trials, cost, widest = np.array([(load.trials, load.cost, load.widest) for load in loads], dtype=float).T
    started = np.array(busy)

    def counts(end: float) -> np.ndarray:
        width = np.clip(np.floor(end / rounds / cost) - OVERHEAD, 1, widest) if rounds else widest
        parts: np.ndarray = np.ceil(trials / width)
        return parts

    def fits(end: float) -> bool:
        parts, round_ = counts(end), end / rounds
        part_cost = cost * (np.ceil(trials / parts) + OVERHEAD)
        # A part takes its share of a round: what is left of one is too short for another part.
        share = np.maximum(part_cost, round_ / np.maximum(np.floor(round_ / part_cost), 1))
        return bool((parts * share).sum() <= np.maximum(end - started, 0).sum())

    # Enough for one worker alone, with parts of one trial that fill half of their rounds.
    low, high = 0.0, float(started.max() + 2 * ROUNDS * (cost * trials * (1 + OVERHEAD)).sum())
    while rounds and high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return tuple(int(count) for count in counts(high))


@dataclass(frozen=True, slots=True)
class _Schedule:
    """Loads cut into ``counts`` parts, the most costly first, each given to the worker that is free first."""

    loads: Sequence[Load]
    counts: tuple[int, ...]
    busy: Sequence[float]
    end: float = dataclasses.field(init=False)
    last: frozenset[int] = dataclasses.field(init=False)  # the loads of the worker that ends last
    imbalance: float = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        parts = sorted(
            (-load.part_cost(count), place)
            for place, (load, count) in enumerate(zip(self.loads, self.counts, strict=True))
            for _ in range(count)
        )
        free = [(until, worker) for worker, until in enumerate(self.busy)]
        heapq.heapify(free)
        given: list[set[int]] = [set() for _ in free]
        for cost, place in parts:
            until, worker = free[0]
            given[worker].add(place)
            heapq.heapreplace(free, (until - cost, worker))
        end, latest = max(free)
        object.__setattr__(self, "end", end)
        object.__setattr__(self, "last", frozenset(given[latest]))
        # Close to the end of the last worker, and lower where fewer workers reach it.
        imbalance = end * sum((until / end) ** 8 for until, _ in free) ** (1 / 8)
        object.__setattr__(self, "imbalance", imbalance)


def _refined(schedule: _Schedule) -> _Schedule:
    """Cut the loads of the worker that ends last into one part more for as long as that is worthwhile."""
    while True:
        finer = [
            _Schedule(schedule.loads, (*counts[:place], counts[place] + 1, *counts[place + 1 :]), schedule.busy)
            for counts in [schedule.counts]
            for place in sorted(schedule.last)
            if counts[place] < schedule.loads[place].trials
        ]
        best = min(finer, key=lambda other: other.imbalance, default=schedule)
        if best.imbalance >= WORTHWHILE * schedule.imbalance:
            return schedule
        schedule = best
