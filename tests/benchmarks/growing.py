"""``python -m tests.benchmarks.growing KIND SIZE IMAGES``: seconds and megabytes of one size, as JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.engine.worker import compute
from pipeline.raised import Raised
from tasks.datasets import Cifar10
from tasks.datasets.dataset import Split
from tasks.strategies import GradientDescent, LocalSearch, RandomSearch
from tasks.studies.train import Train
from tasks.trial import Trial
from tests.benchmarks.timing import seconds

CPUS = 2
SEARCHES = {"random": RandomSearch(), "local": LocalSearch()}
STEPS = {"random": 96, "local": 96, "gradient": 10}
"""Steps on all images, by strategy."""

BATCH_SIZES = {"fused-64": 64, "fused-256": 256}
FUSED_STEPS = 60


def of_images(dataset: Any, kind: str, size: int) -> Callable[[], None]:
    """Return the work of a trial by the strategy ``kind``, every step on ``size`` images."""
    few = dataclasses.replace(
        dataset,
        train=Split(images=dataset.train.images[:size], labels=dataset.train.labels[:size]),
        test=Split(images=dataset.test.images[:1000], labels=dataset.test.labels[:1000]),
    )
    strategy, steps = SEARCHES.get(kind, GradientDescent()), STEPS[kind]
    trial = Trial(
        task=Train(), strategy=strategy, learning_rate=1e-7, batch_size=None, steps=steps, evaluate_every=steps
    )
    return lambda: run([trial], few, threads=CPUS)


def of_width(dataset: Any, kind: str, size: int) -> Callable[[], None]:
    """Return the work of ``size`` trials fused on one thread."""
    trials = [
        Trial(
            task=Train(),
            learning_rate=1e-8 * (1 + k),
            batch_size=BATCH_SIZES[kind],
            steps=FUSED_STEPS,
            evaluate_every=FUSED_STEPS,
        )
        for k in range(size)
    ]
    return lambda: run(trials, dataset, threads=1)


def run(trials: list[Trial], dataset: Any, *, threads: int) -> None:
    """Compute a group as a worker does."""
    for message in compute(trials, dataset, threads=threads):
        if isinstance(message, Raised):
            raise RuntimeError(message.traceback)  # noqa: TRY004  # it is what the trial raised


def measured(work: Callable[[], None]) -> dict[str, float]:
    """Return by how much the work raises the peak of this new process's memory, and how long it takes again."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak starts anew
    before = status("VmRSS")
    work()
    return {"megabytes": status("VmHWM") - before, "seconds": seconds(work)}


def status(name: str) -> float:
    """Return a value of this process's status in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e6


def main() -> None:
    """Print the point."""
    kind, size, root = sys.argv[1:]
    dataset = Cifar10(root=root).load()
    matrix = np.ones((512, 512), dtype=np.float32)
    np.matmul(matrix, matrix)  # the BLAS takes its memory
    work = of_images if kind in STEPS else of_width
    print(json.dumps(measured(work(dataset, kind, int(size)))))


if __name__ == "__main__":
    main()
