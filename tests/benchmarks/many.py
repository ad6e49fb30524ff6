"""Benchmarks of many short trials: the whole command, the same rows by MLflow's own API, and the rate of very many."""

from __future__ import annotations

import sqlite3
import statistics
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
    yield whole_command(settings)
    yield rate(settings)


def whole_command(settings: Settings) -> Row:
    """Return the row of the whole command, beside the time of MLflow's own API for the same rows."""
    rounds = [sweep(settings, TRIALS) for _ in range(settings.rounds())]
    taken = statistics.median(seconds for seconds, _ in rounds)
    api = by_mlflow(rounds[-1][1], make_store(settings.folder()))
    reach = Reach(limit=16, at_least=False, of_value=True)
    note = f"{TRIALS / taken:.0f} a second; against: MLflow's API, by {SAMPLED} of the same runs"
    return Row(name="short-trials", unit="s", value=taken, against=api, ratio=api / taken, reach=reach, note=note)


def rate(settings: Settings) -> Row:
    """Return the row of the trials a second, with the most memory that all processes had at once."""
    with watched() as peaks:
        rounds = [sweep(settings, VERY_MANY) for _ in range(settings.rounds())]
    taken = statistics.median(seconds for seconds, _ in rounds)
    reach = Reach(limit=150, at_least=True, of_value=True)
    note = f"{VERY_MANY} trials, whole command {taken:.0f} s, at most {peaks.total:.0f} MB in all processes"
    value = statistics.median(VERY_MANY / span(store) for _, store in rounds)
    return Row(name="short-trials-rate", unit="trials a second", value=value, reach=reach, note=note)


def sweep(settings: Settings, trials: int) -> tuple[float, Path]:
    """Run a sweep of short trials; return the seconds of its command and its store."""
    folder = settings.folder()
    make_store(folder)
    return timed(pipeline("-m", f"seed=range(0,{trials})", "strategy=gradient", "steps=100"), folder), folder / STORE


def span(store: Path) -> float:
    """Return the seconds from the start of the first trial's run of a store to the end of the sweep's run."""
    with sqlite3.connect(store) as connection:
        began = connection.execute("SELECT min(start_time) FROM runs JOIN tags USING (run_uuid) WHERE key = 'key'")
        ended = connection.execute("SELECT max(end_time) FROM runs")
        return (ended.fetchone()[0] - began.fetchone()[0]) / 1000


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
