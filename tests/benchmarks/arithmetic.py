"""Benchmarks of the arithmetic, in this process: searches, the numerical gradient and the landscape on CIFAR-10."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.engine.worker import compute
from pipeline.raised import Raised
from tasks.arrays.random_streams import normal
from tasks.datasets import Cifar10
from tasks.events import Curve, Result
from tasks.strategies import LocalSearch, RandomSearch
from tasks.studies.gradient_check import GradientCheck
from tasks.studies.landscape import Landscape
from tasks.studies.train import Train
from tasks.trial import Trial
from tests.benchmarks.peers import notes
from tests.benchmarks.row import Reach, Row, Settings, faster
from tests.benchmarks.timing import in_turns, seconds

STEPS = 1000
FULL = {"batch_size": None, "steps": STEPS, "evaluate_every": STEPS}
LOCAL = LocalSearch(initial_scale=1e-3)
STEP_SIZE = 1e-4
GRID, POINTS, EXAMPLES = 200, 40, 10_000
DIFFERENCES = 30


def random_search(settings: Settings) -> Iterator[Row]:
    """1000 candidates on 50,000 images, against the peak of this process, and against the notes' loop."""
    dataset = images(settings)
    x, y = notes.features(dataset, dataset.train, np.float32), dataset.train.labels
    loop = notes.random_search(x, y)
    rounds = settings.rounds()
    trial = Trial(task=Train(), strategy=RandomSearch(), record_every=STEPS, **FULL)
    taken = in_turns(
        {
            "peak": peak,
            "notes": lambda: seconds(lambda: take(loop, 15)) / 15,
            "ours": lambda: seconds(lambda: run(trial, dataset)),
        },
        rounds=rounds,
    )
    operations = 2 * STEPS * len(y) * x.shape[1] * 10
    speed = operations / taken["ours"] / 1e9
    yield Row(
        name="random-search-speed",
        unit="GFLOP/s",
        value=speed,
        against=taken["peak"],
        ratio=speed / taken["peak"],
        reach=Reach(limit=0.85, at_least=True),
        note="1000 candidates x 50,000 images; the peak is the best of 10 products of 2048^3, a median over rounds",
    )
    note = f"notes' loop: {1000 * taken['notes']:.0f} ms an evaluation, 15 a round, scaled"
    yield faster("random-search", taken["ours"], STEPS * taken["notes"], reach=4, note=note)


def local_search(settings: Settings) -> Iterator[Row]:
    """1000 steps of local search against the notes' loop, which must accept the same steps."""
    dataset = images(settings)
    x, y = notes.features(dataset, dataset.train, np.float32), dataset.train.labels
    trial = Trial(task=Train(), strategy=LOCAL, learning_rate=STEP_SIZE, record_every=1, **FULL)
    rounds = settings.rounds()
    loop = notes.local_search(x, y, initial_scale=LOCAL.initial_scale, step_size=STEP_SIZE)
    theirs: list[float] = []
    ours: list[float] = []

    def walk() -> None:
        theirs.extend(take(loop, STEPS // rounds))

    def ourselves() -> None:
        ours[:] = losses(run(trial, dataset))

    taken = in_turns({"notes": lambda: seconds(walk), "ours": lambda: seconds(ourselves)}, rounds=rounds)
    same = np.array_equal(accepted(ours)[: len(theirs)], accepted(theirs))
    verdict = "the same" if same else "NOT the same"
    note = f"{accepted(ours).sum()} of {STEPS} steps accepted, {verdict} in both over {len(theirs)} steps"
    yield faster("local-search", taken["ours"], taken["notes"] * STEPS / (STEPS // rounds), reach=3.5, note=note)


def numerical_gradient(settings: Settings) -> Iterator[Row]:
    """The slope by each of 30,730 weights on all images, float64, against the notes' loop on 30 of them."""
    dataset = images(settings)
    x, y = notes.features(dataset, dataset.train, np.float64), dataset.train.labels
    weights = (1e-3 * normal(0, "initial weights", shape=(10, x.shape[1]))).astype(np.float64)
    chosen = [np.unravel_index(i, weights.shape) for i in np.linspace(0, weights.size - 1, DIFFERENCES, dtype=int)]
    rounds = settings.rounds()
    slopes: dict[Any, float] = {}
    results: list[Result] = []

    def loop() -> None:
        found = notes.numerical_gradient(lambda w: notes.L(x, y, w), weights, chosen)
        slopes.update(zip(chosen, found, strict=True))

    def ours() -> None:
        results[:] = [run(Trial(task=GradientCheck(examples=None)), dataset)[-1]]

    taken = in_turns({"notes": lambda: seconds(loop), "ours": lambda: seconds(ours)}, rounds=rounds)
    ahead = results[0].arrays["slope_ahead"]
    off = max(abs(ahead[index] - slope) for index, slope in slopes.items()) / np.abs(ahead).max()
    yield faster(
        "numerical-gradient",
        taken["ours"],
        taken["notes"] * weights.size / DIFFERENCES,
        reach=500,
        note=f"centred (theirs: forward), with the analytic gradient beside it; {DIFFERENCES} forward slopes differ by "
        f"{off:.0e} of the largest",
    )


def landscape(settings: Settings) -> Iterator[Row]:
    """A plane of 200 x 200 points on 10,000 images against one evaluation a point."""
    dataset = images(settings)
    x, y = notes.features(dataset, dataset.train, np.float32)[:EXAMPLES], dataset.train.labels[:EXAMPLES]
    middle, one, other = (1e-3 * normal(0, "directions", k, shape=(10, x.shape[1])) for k in range(3))
    trial = Trial(task=Landscape(resolution=GRID, examples=EXAMPLES))

    def points() -> None:
        for a, b in np.random.default_rng(0).uniform(-5, 5, size=(POINTS, 2)).astype(np.float32):
            notes.L(x, y, middle + a * one + b * other)

    taken = in_turns(
        {"points": lambda: seconds(points), "ours": lambda: seconds(lambda: run(trial, dataset))},
        rounds=settings.rounds(),
    )
    note = f"{1000 * taken['points'] / POINTS:.1f} ms a point, {POINTS} a round, scaled"
    yield faster("landscape", taken["ours"], taken["points"] / POINTS * GRID**2, reach=20, note=note)


@functools.cache
def _load(root: Any) -> Any:
    return Cifar10(root=str(root), validation=0).load()


def images(settings: Settings) -> Any:
    """Return CIFAR-10 with all 50,000 images for training."""
    return _load(settings.cifar10())


def run(trial: Trial, dataset: Any) -> list[Any]:
    """Compute a trial as the engine in this process does, on all CPUs, and return its events."""
    events: list[Any] = []
    for message in compute([trial], dataset, threads=os.cpu_count() or 1):
        if isinstance(message, Raised):
            raise RuntimeError(message.traceback)  # noqa: TRY004  # it is what the trial raised
        events += message if isinstance(message, tuple) else []
    return events


def losses(events: list[Any]) -> list[float]:
    """Return the training loss after every step."""
    curves = [event for event in events if isinstance(event, Curve) and "train/loss" in event.metrics]
    return [float(loss) for curve in curves for loss in curve.metrics["train/loss"]]


def accepted(history: list[float]) -> np.ndarray:
    """Return at which steps the loss after the step is a new one."""
    return np.diff(history, prepend=np.inf) < 0


def take(loop: Iterator[float], count: int) -> list[float]:
    """Return the next values of a loop."""
    return list(itertools.islice(loop, count))


def peak(size: int = 2048) -> float:
    """Return the best speed of a float32 product in GFLOP/s, on all threads of the BLAS."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), dtype=np.float32) for _ in range(2))
    c = np.empty_like(a)
    np.matmul(a, b, out=c)
    return 2 * size**3 / min(seconds(lambda: np.matmul(a, b, out=c)) for _ in range(10)) / 1e9
