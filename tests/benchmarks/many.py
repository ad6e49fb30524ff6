"""Benchmarks of many short trials: the whole command, the same rows by MLflow's own API, and the rate of very many."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.commands import STORE, make_store, pipeline, timed
from tests.benchmarks.processes import watched
from tests.benchmarks.row import Reach, Row, Settings
from tests.benchmarks.timing import seconds

TRIALS, VERY_MANY = 2000, 10_000
SAMPLED = 100
"""Runs that MLflow's own API writes: all would take minutes."""


def short_trials(settings: Settings) -> Iterator[Row]:
    """2000 trials of 100 steps on digits, from shell to shell, and 10,000 from the first step to the last record."""
    for count in (TRIALS, VERY_MANY):
        folder = settings.folder()
        store = make_store(folder)
        with watched() as peaks:
            taken = timed(pipeline("-m", f"seed=range(0,{count})", "strategy=gradient", "steps=100"), folder)
        if count == TRIALS:
            reach = Reach(limit=16, at_least=False, of_value=True)
            api = by_mlflow(folder / STORE, make_store(settings.folder()))
            note = f"{count / taken:.0f} a second; against: MLflow's API, by {SAMPLED} of the same runs"
            yield Row(
                name="short-trials", unit="s", value=taken, against=api, ratio=api / taken, reach=reach, note=note
            )
    began, ended = span(Path(store.removeprefix("sqlite:///")))
    yield Row(
        name="short-trials-rate",
        unit="trials a second",
        value=VERY_MANY / (ended - began),
        reach=Reach(limit=150, at_least=True, of_value=True),
        note=f"{VERY_MANY} trials, whole command {taken:.0f} s, at most {peaks.total:.0f} MB in all processes",
    )


def span(store: Path) -> tuple[float, float]:
    """Return when the first trial's run of a store began and the sweep's run ended, in seconds."""
    with sqlite3.connect(store) as connection:
        began = connection.execute("SELECT min(start_time) FROM runs JOIN tags USING (run_uuid) WHERE key = 'key'")
        ended = connection.execute("SELECT max(end_time) FROM runs")
        return began.fetchone()[0] / 1000, ended.fetchone()[0] / 1000


def by_mlflow(store: Path, other: str) -> float:
    """Return the seconds that MLflow's own API would take for all trials' runs of a store, in one that is empty."""
    from mlflow import MlflowClient  # takes seconds to import
    from mlflow.entities import Metric, Param, RunTag

    with sqlite3.connect(store) as connection:
        keys = connection.execute("SELECT run_uuid FROM tags WHERE key = 'key'").fetchall()
        rows: dict[str, dict[str, list[Any]]] = defaultdict(dict)
        for (run,) in keys[:SAMPLED]:
            for table, columns in (("metrics", "key, value, timestamp, step"), ("params", "key, value")):
                found = connection.execute(
                    f"SELECT {columns} FROM {table} WHERE run_uuid = ?", (run,)
                )  # no user's text
                rows[run][table] = found.fetchall()
            found = connection.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run,))
            rows[run]["tags"] = [tag for tag in found.fetchall() if tag[0] != "mlflow.runName"]
    client = MlflowClient(other)

    def write() -> None:
        for one in rows.values():
            run = client.create_run("0").info.run_id
            client.log_batch(
                run,
                metrics=[Metric(*values) for values in one["metrics"]],
                params=[Param(*values) for values in one["params"]],
                tags=[RunTag(*values) for values in one["tags"]],
            )
            client.set_terminated(run)

    return seconds(write) / len(rows) * len(keys)
