"""Seconds of calls, taken in turns so that what disturbs one disturbs the others."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from tasks.arrays.devices import HOST
from tasks.datasets.dataset import Dataset
from tasks.fused.problem import Problem
from tasks.trial import Trial


def seconds(work: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turns(works: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, float]:
    """Do every work once a round and return the median of the numbers each returned."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(work())
    return {name: statistics.median(numbers) for name, numbers in taken.items()}


def stretches(trials: Sequence[Trial], dataset: Dataset) -> Callable[[], float]:
    """Return what takes the next stretch of steps of fused trials, and tells the seconds of a step."""
    problem, strategy = Problem.of(trials, dataset, like=HOST, threads=1), trials[0].strategy
    stretch, state, done = strategy.stretch(problem), strategy.init(problem), 0

    def take() -> float:
        nonlocal state, done

        def go() -> None:
            nonlocal state
            state, _ = strategy.advance(problem, state, done, done + stretch)

        took = seconds(go)
        done += stretch
        return took / stretch

    return take
