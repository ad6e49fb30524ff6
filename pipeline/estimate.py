"""What a plan costs, estimated: the memory of a worker, and the time on workers as fast as this process."""

from __future__ import annotations

import heapq
import time

import numpy as np

from pipeline.plan import Group, Plan, evaluated_examples
from tasks.datasets.dataset import Dataset

COPIES = 6
"""Arrays of the size of a group's weights that a step holds: weights, gradient, optimiser state, proposals."""

BLOCK = 4096
"""Examples that are turned into floating point at once."""


def worker_memory(plan: Plan, dataset: Dataset) -> int:
    """Return the bytes that the most demanding group needs beside the shared images."""
    features: int = dataset.train.images.shape[1] + 1
    outputs = len(dataset.classes)

    def group_memory(group: Group) -> int:
        trials = len(group.trials)
        return 4 * (COPIES * trials * outputs * features + BLOCK * (features + 2 * trials * outputs))

    return max(map(group_memory, plan.groups), default=0)


def sweep_seconds(plan: Plan, dataset: Dataset, *, workers: int) -> float:
    """Return the time of the steps, from the operations of their products and a product timed here and now."""
    weights = len(dataset.classes) * (dataset.train.images.shape[1] + 1)
    speed = _operations_a_second()
    ends = [0.0] * workers
    for group in plan.groups:  # the largest first, each on the worker that is free first
        examples = max(evaluated_examples(trial.trial, len(dataset.train)) for trial in group.trials)
        # A product forward and, for a gradient, one back: two operations a weight each.
        operations = 4 * examples * weights * len(group.trials)
        heapq.heapreplace(ends, ends[0] + operations / speed)
    return max(ends)


def _operations_a_second(size: int = 512) -> float:
    matrix = np.ones((size, size), dtype=np.float32)
    _ = matrix @ matrix
    start = time.perf_counter()
    for _repeat in range(5):
        _ = matrix @ matrix
    # Minibatch products reach about half of a large product's speed.
    return 5 * 2 * size**3 / (time.perf_counter() - start) / 2
