"""``python -m tests.benchmarks.recording IMAGES``: what the record of 48 trials holds and costs, point by point."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from sqlalchemy import Engine, event

from pipeline.address import absolute
from pipeline.plan.plan import Group, make_plan
from pipeline.reports import Finished, Progressed, Report
from pipeline.sweep.engines import make_engine
from pipeline.tracking.connection import connect
from tests.benchmarks.recorders import grouped, mlflow_recorder, points, record
from tests.benchmarks.sweeps import STEPS

RECORD_EVERY = 10
"""Steps between two points of a curve: the default."""


class Counting:
    """An engine that notes every point it reports, by trial, metric and step."""

    def __init__(self, engine: Any) -> None:
        self.told: set[tuple[str, str, int]] = set()
        self._engine = engine

    def load(self, dataset: Any) -> None:
        """Pass on the data."""
        self._engine.load(dataset)

    def submit(self, groups: Sequence[Group], *, last: bool) -> None:
        """Pass on groups."""
        self._engine.submit(groups, last=last)

    def reports(self) -> Iterator[Report]:
        """Pass on what the engine reports."""
        for report in self._engine.reports():
            if isinstance(report, Progressed):
                for name, values in report.curve.metrics.items():
                    self._note(report.trial.key, name, zip(report.curve.steps.tolist(), values.tolist(), strict=True))
            elif isinstance(report, Finished):
                for name, value in report.result.metrics.items():
                    self._note(report.trial.key, name, [(report.result.step, value)])
            yield report

    def _note(self, key: str, name: str, values: Iterable[tuple[int, float]]) -> None:
        self.told |= {(key, name, step) for step, value in values if not math.isnan(value)}


@contextlib.contextmanager
def transactions() -> Iterator[list[int]]:
    """Count what SQLAlchemy commits in this process, in the list's one number."""
    count = [0]

    def one_more(connection: Any) -> None:
        count[0] += 1

    event.listen(Engine, "commit", one_more)
    try:
        yield count
    finally:
        event.remove(Engine, "commit", one_more)


@contextlib.contextmanager
def cpu_time(*names: str) -> Iterator[list[float]]:
    """Add up the CPU seconds of the threads of these names that start meanwhile, in the list's one number."""
    seconds, run = [0.0], threading.Thread.run

    def timed(thread: threading.Thread) -> None:
        run(thread)
        if thread.name in names:
            seconds[0] += time.thread_time()

    with mock.patch.object(threading.Thread, "run", timed):
        yield seconds
        for thread in threading.enumerate():
            if thread.name in names:
                thread.join()


def stored(folder: Path) -> tuple[list[tuple[str, str, int]], dict[str, int]]:
    """Return the points in the folder's store, by trial, metric and step, and its bytes."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database:
        rows = database.execute(
            "SELECT tags.value, metrics.key, step FROM metrics JOIN tags USING (run_uuid) WHERE tags.key = 'key'"
        ).fetchall()
    files = [path for path in (folder / "mlruns").rglob("*") if path.is_file()]
    sizes = {"database": (folder / "mlflow.db").stat().st_size, "files": sum(path.stat().st_size for path in files)}
    return rows, sizes | {"number of files": len(files)}


def main() -> None:
    """Print the counts as JSON."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        swept = points(sys.argv[1], record_every=RECORD_EVERY, steps=STEPS)
        config = swept[0].config
        dataset = config.dataset.load()
        plan = make_plan(swept, dataset)
        groups = grouped(plan, dataset, config)
        with make_engine(config, lone=True) as engine:  # what is recorded does not depend on where it is computed
            connect(absolute(config.tracking.uri), create=True)  # MLflow's migrations are no part of a sweep
            counting = Counting(engine)
            with transactions() as commits, cpu_time("recorder", "exporter") as busy:
                seconds = record(groups, dataset, counting, mlflow_recorder(config, plan, dataset))
        rows, sizes = stored(Path(name))
    once = len(rows) == len(set(rows)) and set(rows) == counting.told
    told = {"points": len(rows), "each exactly once": once, "transactions": commits[0]}
    print(json.dumps(told | {"CPU seconds of the recorder": busy[0], "seconds": seconds, "bytes": sizes}))


if __name__ == "__main__":
    main()
