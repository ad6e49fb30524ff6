"""An estimate of a sweep's cost: the memory of a worker, and the time on workers as fast as a core of this machine."""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.plan.plan import Group
from tasks.arrays.devices import BlockSizes
from tasks.cost import DataSize, cost
from tasks.datasets.dataset import Dataset
from tasks.memory import bytes_of_group


def worker_memory(groups: Sequence[Group], dataset: Dataset, *, blocks: BlockSizes, threads: int = 1) -> int:
    """Return the bytes that the largest group needs, without the shared data set's, with these block sizes."""
    every = ([planned.trial for planned in group.trials] for group in groups)
    return max((bytes_of_group(trials, dataset, blocks=blocks, threads=threads) for trials in every), default=0)


def sweep_seconds(groups: Sequence[Group], dataset: Dataset, *, workers: int, speed: float | None = None) -> float:
    """Return the time of steps and evaluations, from their operations and how many of them a second a worker does.

    Without a ``speed`` it is that of a product that is timed here.
    """
    data_size, speed = DataSize.of(dataset), speed or _operations_a_second()
    ends = [0.0] * workers
    for group in groups:  # the largest first, each on the worker that is free first
        trials = [planned.trial for planned in group.trials]
        seconds = 2 * cost(trials, data_size).of(len(trials)) / speed
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def _operations_a_second() -> float:
    size = 512
    matrix = np.ones((size, size), dtype=np.float32)
    with threadpool_limits(1, user_api="blas"):  # as in a worker
        _ = matrix @ matrix
        start = time.perf_counter()
        for _repeat in range(5):
            _ = matrix @ matrix
        seconds = time.perf_counter() - start
    # Minibatch products reach about half of a large product's speed.
    return 5 * 2 * size**3 / seconds / 2
