"""``python -m tests.benchmarks.recorders IMAGES ROUNDS EVERY``: one sweep kept in memory and by MLflow, in turns."""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.background import in_background
from pipeline.config.schema import Config, parse
from pipeline.engine.protocol import run
from pipeline.plan.plan import Group, Plan, Point, Segment, fuse, make_plan
from pipeline.record.protocol import Provenance
from pipeline.reports import Checkpointed, Failed, Paused
from pipeline.results.criterion import Criterion
from pipeline.results.tally import Tally
from pipeline.sweep.engines import make_engine, worker_count
from pipeline.sweep.opening import Header, make_recorder, open_record
from pipeline.sweep.planning import make_header
from pipeline.sweep.source import Grid
from pipeline.tracking.connection import connect
from pipeline.tracking.mlflow_recorder import MlflowRecorder
from tasks.cost import DataSize
from tests.benchmarks.sweeps import GRID
from tests.memory_recorder import MemoryRecorder

POINTS = 1000


def points(images: str, *, record_every: int, steps: int) -> list[Point]:
    """Return the 48 trials with a curve point every so many steps."""
    found = []
    for index, values in enumerate(itertools.product(*(texts.split(",") for texts in GRID.values()))):
        swept = dict(zip(GRID, values, strict=True))
        config: dict[str, Any] = {name: float(value) for name, value in swept.items()}
        config |= {"batch_size": int(swept["batch_size"]), "steps": steps, "trial": {"record_every": record_every}}
        config |= {"dataset": {"name": "cifar10", "root": images}}
        overrides = tuple(f"{name}={value}" for name, value in swept.items())
        found.append(Point(index=index, overrides=overrides, config=parse(config)))
    return found


def grouped(plan: Plan, dataset: Any, config: Config) -> tuple[Group, ...]:
    """Return the groups of a plan."""
    return fuse([Segment(trial=trial) for trial in plan.trials], DataSize.of(dataset), workers=worker_count(config))


def record(groups: Sequence[Group], dataset: Any, engine: Any, recorder: MlflowRecorder | MemoryRecorder) -> float:
    """Return the seconds from the first group to the closed record."""
    start = time.perf_counter()
    for report in run(engine, groups, dataset):
        if isinstance(report, Failed):
            raise RuntimeError(report.error)  # noqa: TRY004  # a trial has failed
        if not isinstance(report, Checkpointed | Paused):
            recorder.record(report)
    recorder.close("FINISHED")
    return time.perf_counter() - start


def mlflow_recorder(config: Config, plan: Plan, dataset: Any) -> MlflowRecorder:
    """Return the recorder of a sweep as the command line opens it."""
    tally = Tally(plan.trials, Criterion.of(config.sweep, dataset))
    sweep = make_header((), config, tally, dataset, Grid(()))
    head = Header(sweep=sweep, dataset=dataset, provenance=Provenance())
    folder = Path(tempfile.mkdtemp())
    recorder = make_recorder(config, folder, lone=False)
    connecting = in_background(lambda: connect(recorder.uri, create=True))
    open_record(recorder, connecting, config, head, folder)
    return recorder


def main() -> None:
    """Print the medians as JSON."""
    images, rounds, every = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    swept = points(images, record_every=every, steps=POINTS * every)
    config = swept[0].config
    dataset = config.dataset.load()
    plan = make_plan(swept, dataset)
    groups = grouped(plan, dataset, config)
    few = grouped(make_plan(points(images, record_every=1, steps=1), dataset), dataset, config)
    taken: dict[str, list[float]] = {"memory": [], "mlflow": []}
    with make_engine(config, lone=False) as engine:
        record(few, dataset, engine, MemoryRecorder())  # the workers start and import
        for _ in range(rounds):
            taken["memory"].append(record(groups, dataset, engine, MemoryRecorder()))
            taken["mlflow"].append(record(groups, dataset, engine, mlflow_recorder(config, plan, dataset)))
    steps = f"{POINTS * every} steps, {POINTS} points"
    note = f"48 trials, each {steps}; warm workers, from the first group to the closed record"
    print(json.dumps({name: statistics.median(values) for name, values in taken.items()} | {"note": note}))


if __name__ == "__main__":
    main()
