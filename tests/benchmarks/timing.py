"""Seconds of calls, taken in turns so that what disturbs one disturbs the others."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


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
