"""``python -m tests.benchmarks.steps IMAGES ROUNDS``: time inside steps, fused and one trial at a time."""

from __future__ import annotations

import functools
import itertools
import json
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tasks.datasets import Cifar10
from tasks.fused.problem import Problem
from tasks.studies.train import Train
from tasks.trial import Trial
from tests.benchmarks.peers import svm
from tests.benchmarks.sweeps import CPUS, GRID, STEPS

ALONE = 2
"""Trials of a batch size that a worker does one at a time; the others are scaled."""


@functools.cache
def _dataset(images: str) -> Any:
    return Cifar10(root=images).load()


def trials(batch_size: int) -> list[Trial]:
    """Return the trials of a batch size."""
    swept = itertools.product(*(map(float, GRID[name].split(",")) for name in ("learning_rate", "regularization")))
    return [
        Trial(task=Train(), learning_rate=rate, regularization=strength, batch_size=batch_size, steps=STEPS)
        for rate, strength in swept
    ]


def fused(images: str, batch_size: int, worker: int) -> float:
    """Return the seconds of the steps of a worker's half of the trials, as one group."""
    half = trials(batch_size)[worker::CPUS]
    with threadpool_limits(1, user_api="blas"):
        problem = Problem.of(half, _dataset(images), like=np.empty(0, np.float32), threads=1)
        strategy = half[0].strategy
        state = strategy.init(problem)
        state, _ = strategy.advance(problem, state, 0, 1)  # probes the BLAS, once a process
        state = strategy.init(problem)
        start = time.perf_counter()
        for first in range(0, STEPS, 100):
            state, _ = strategy.advance(problem, state, first, first + 100)
        return time.perf_counter() - start


def alone(images: str, batch_size: int, worker: int) -> float:
    """Return the seconds that a worker's half of the trials takes one at a time, in the peers' plain NumPy."""
    data = svm.load(images)
    half = trials(batch_size)[worker::CPUS]
    with threadpool_limits(1, user_api="blas"):
        start = time.perf_counter()
        for trial in half[:ALONE]:
            svm.train(
                data,
                learning_rate=trial.learning_rate,
                regularization=trial.regularization,
                batch_size=batch_size,
                steps=STEPS,
                log=lambda metrics, step: None,
            )
        return (time.perf_counter() - start) * len(half) / ALONE


def together(pool: ProcessPoolExecutor, work: Any, images: str) -> float:
    """Return the mean over the workers of the seconds that each takes for its halves, all working at once."""
    batch_sizes = [int(size) for size in GRID["batch_size"].split(",")]
    return sum(statistics.mean(pool.map(work, [images] * CPUS, [size] * CPUS, range(CPUS))) for size in batch_sizes)


def main() -> None:
    """Print the medians as JSON."""
    images, rounds = sys.argv[1], int(sys.argv[2])
    # A pool that spawns at once: each of two tasks goes to a process of its own, since both take seconds.
    with ProcessPoolExecutor(CPUS, mp_context=get_context("spawn")) as pool:
        list(pool.map(_warm, [images] * CPUS))
        taken: dict[str, list[float]] = {"fused": [], "alone": []}
        for _ in range(rounds):
            taken["fused"].append(together(pool, fused, images))
            taken["alone"].append(together(pool, alone, images))
    note = (
        f"seconds a worker, {CPUS} one-thread workers at once; alone: plain NumPy, {ALONE} trials a batch size, scaled"
    )
    print(json.dumps({name: statistics.median(values) for name, values in taken.items()} | {"note": note}))


def _warm(images: str) -> None:
    svm.load(images)
    _dataset(images)
    time.sleep(1)


if __name__ == "__main__":
    main()
