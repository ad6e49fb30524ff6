"""An estimate of a sweep's cost: the memory of a worker, and the time on workers as fast as a core of this machine."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.plan.plan import Group
from tasks.arrays.devices import BlockSizes
from tasks.cost import DataSize, examples_seen
from tasks.datasets.dataset import Dataset
from tasks.memory import bytes_of_group
from tasks.strategies.strategy import Work
from tasks.trial import Trial, uses_model

READ_COST = 60
"""The cost of reading a pixel and casting it, in multiplications, however many trials share it."""

LOSS_COST = 200
"""The cost of a score's part in the loss, in multiplications."""


def worker_memory(groups: Sequence[Group], dataset: Dataset, *, blocks: BlockSizes, threads: int = 1) -> int:
    """Return the bytes that the largest group needs, without the shared data set's, with these block sizes."""
    needed = 0
    for group in groups:
        trials = [planned.trial for planned in group.trials]
        count, seeds = len(trials), len({trial.seed for trial in trials})
        for trial in trials:
            taken = bytes_of_group(trial, dataset, count=count, blocks=blocks, seeds=seeds, threads=threads)
            needed = max(needed, taken)
    return needed


def sweep_seconds(groups: Sequence[Group], dataset: Dataset, *, workers: int, speed: float | None = None) -> float:
    """Return the time of steps and evaluations, from their operations and how many of them a second a worker does.

    Without a ``speed`` it is that of a product that is timed here.
    """
    speed = speed or _operations_a_second()
    ends = [0.0] * workers
    for group in groups:  # the largest first, each on the worker that is free first
        seconds = 2 * _multiplications([planned.trial for planned in group.trials], dataset) / speed
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)


def _multiplications(trials: Sequence[Trial], dataset: Dataset) -> float:
    """Return how many multiplications the steps and the evaluations of fused trials take, and what costs as much."""
    first, count, data_size = trials[0], len(trials), DataSize.of(dataset)
    work, evaluated = Work(readings=1, passes=2 * count), 0
    if not uses_model(first):
        return work.passes * first.steps
    if first.task.trains:
        work = first.strategy.work(trials, len(dataset.train))
        evaluated = -(-first.steps // first.evaluate_every) * len(dataset.validation) + len(dataset.test)
    seen = examples_seen(first, data_size)
    model = first.model.multiplications(data_size.image_shape, data_size.classes)
    reading, losses = READ_COST * math.prod(data_size.image_shape), LOSS_COST * count * data_size.classes
    of_steps = seen * (work.passes * model + work.readings * reading + losses)
    return of_steps + evaluated * (count * model + reading + losses)


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
