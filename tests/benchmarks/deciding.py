"""Benchmarks of sweeps that stop trials: how much sooner they end, whether they name the same winner, who is idle."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.benchmarks import sweeps
from tests.benchmarks.commands import PEERS, STORE, make_store, pipeline, require_peer, timed
from tests.benchmarks.row import Reach, Row, Settings, faster
from tests.benchmarks.timing import in_turns

GRID = {
    "learning_rate": ",".join(f"{rate:.3g}" for rate in np.geomspace(1e-9, 1e-5, 20)),
    "regularization": "0,1,100",
    "loss": "svm,softmax",
    "batch_size": "64,256",
}
STEPS, FIRST_RUNG = 2000, 74
ASHA = (50, 4)
"""The first rung and the factor of the comparison with Ray Tune's ASHA."""


def halving(settings: Settings) -> Iterator[Row]:
    """240 linear trials on CIFAR-10, halved at 74 steps and by 3 from there, against all of them to their end."""
    images = settings.cifar10()
    fixed = ("dataset=cifar10", f"dataset.root={images}", f"steps={STEPS}", f"trial.evaluate_every={FIRST_RUNG}")
    command = pipeline("-m", *fixed, *(f"{name}={swept}" for name, swept in GRID.items()))
    folders: dict[str, Path] = {}

    def run(name: str, *more: str) -> float:
        folders[name] = settings.folder()
        make_store(folders[name])
        return timed([*command, *more], folders[name])

    works = {"halving": lambda: run("halving", "stopping=halving"), "grid": lambda: run("grid")}
    taken = in_turns(works, rounds=settings.rounds())
    of_sweep, of_grid = (metrics_of_parent(folders[name] / STORE) for name in works)
    accuracy, best = of_sweep["best/test/accuracy"], of_grid["best/test/accuracy"]
    yield faster("halving", taken["halving"], taken["grid"], reach=4, note="240 trials, from shell to shell")
    yield Row(
        name="halving-winner",
        unit="points",
        value=100 * (best - accuracy),
        reach=Reach(limit=0.3, at_least=False, of_value=True),
        note=f"test accuracy of the winner {100 * accuracy:.2f} %, of the grid's {100 * best:.2f} %",
    )
    yield Row(
        name="halving-idle",
        unit="%",
        value=100 * of_sweep["workers/idle"],
        reach=Reach(limit=10, at_least=False, of_value=True),
        note="of the workers' time after the first rung",
    )


def asha(settings: Settings) -> Iterator[Row]:
    """The 48 trials of the benchmark with asha, 50 steps and by 4, against Ray Tune with its own."""
    require_peer("pyarrow")
    require_peer("tensorboardX")
    images = settings.cifar10()
    compared = ("sweep.metric=train/accuracy", f"trial.evaluate_every={sweeps.STEPS}")
    rule = ("stopping=asha", f"stopping.min_steps={ASHA[0]}", f"stopping.reduction_factor={ASHA[1]}")
    folders: dict[str, Path] = {}

    def ours() -> float:
        folder = folders["ours"] = settings.folder()
        make_store(folder)
        return timed(sweeps.ours(images, *rule, *compared), folder)

    def theirs() -> float:
        folder = folders["theirs"] = settings.folder()
        peer = [str(images), make_store(folder), str(sweeps.STEPS), *sweeps.grid(), f"asha={ASHA[0]},{ASHA[1]}"]
        return timed([sys.executable, str(PEERS / "ray_tune.py"), *peer], folder)

    taken = in_turns({"ours": ours, "theirs": theirs}, rounds=settings.rounds())
    best, other = (winners_accuracy(folders[name] / STORE) for name in taken)
    note = f"48 trials, 1000 steps, from shell to shell; test accuracy of the winner {best:.3f}, of theirs {other:.3f}"
    yield faster("asha", taken["ours"], taken["theirs"], reach=15, note=note)


def winners_accuracy(store: Path) -> float:
    """Return the test accuracy of the trial that did all steps and has the highest training accuracy at their end."""
    with sqlite3.connect(store) as connection:
        (accuracy,) = connection.execute(
            "SELECT test.value FROM latest_metrics test JOIN latest_metrics train USING (run_uuid) "
            "WHERE test.key = 'test/accuracy' AND train.key = 'train/accuracy' ORDER BY train.value DESC"
        ).fetchone()
    return float(accuracy)


def metrics_of_parent(store: Path) -> dict[str, float]:
    """Return the metrics of the one sweep in a store."""
    of_sweep = "SELECT run_uuid FROM tags WHERE key = 'sweep.key'"
    with sqlite3.connect(store) as connection:
        rows = connection.execute(f"SELECT key, value FROM latest_metrics WHERE run_uuid IN ({of_sweep})").fetchall()
    return dict(rows)
