"""An SQLite store, written by inserts into MLflow's own tables: MLflow's API takes CPU time that the workers need.

Names and lengths are not validated here as in MLflow: the recorder makes the names, and shortens long texts.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.address import sqlite_file
from pipeline.record.outbox import Block, Change
from pipeline.tracking.connection import connect, refusals
from pipeline.tracking.relocation import folder_of
from pipeline.tracking.store import ENTRIES_TAG, RUN_TAG, Store

if TYPE_CHECKING:
    from mlflow import MlflowClient  # takes seconds to import

Row = dict[str, Any]

TESTED_REVISIONS = {
    "b7e2c1a4d9f3",  # MLflow 3.16
    "dc11669786a5",  # MLflow 3.17
    "f4a9b2c7d1e6",  # MLflow 3.18
}
"""The schema revisions that this module was tested with; other stores are written through MLflow's API."""

_METRIC = ("key", "value", "is_nan", "timestamp", "step", "run_uuid")
_TEXT = ("key", "value", "run_uuid")

_log = logging.getLogger(__name__)


def open_store(uri: str, experiment: str) -> Store:
    """Open an experiment of the store at ``uri``: as an `SqliteStore` if it can be, else as a `Store`."""
    client = connect(uri, create=True)
    if sqlite_file(uri) is None:
        return Store(uri, experiment, client)
    if obstacle := _obstacle(client):
        _log.warning("the store is written to by MLflow's own API, which takes longer: %s", obstacle)
        return Store(uri, experiment, client)
    return SqliteStore(uri, experiment, client)


class SqliteStore(Store):
    """A store in an SQLite file: MLflow creates the first run, whose rows are the template of all others.

    MLflow's API reads everything again before and after it writes: 39 ms of a core for a run, its data set, its end
    and its artifacts. ``log_batch`` builds an object a point, looks up the run five times and commits four times a
    call: 117 us a point. An insert takes 12 us a point, most of it for SQLite's three indices.
    """

    _template: _Template | None = None

    def apply(self, changes: Mapping[str, Change]) -> list[Exception]:
        """Write changes as `Store.apply` does, in one transaction, or if it is refused in one a run."""
        self._require_file()
        deleted = self._deleted()
        gone = {run: one for run, one in changes.items() if deleted & {self.experiment_id, self.ids.get(run, run)}}
        kept = {run: one for run, one in changes.items() if run not in gone}
        refused = super().apply(gone)  # MLflow's API gives the reasons
        together = refusals(functools.partial(self._apply, kept))
        if len(kept) < 2 or not together:
            return refused + together
        for run, change in kept.items():
            refused += refusals(functools.partial(self._apply, {run: change}))
        return refused

    def _deleted(self) -> set[str]:
        """Return the ids of the runs that a person has deleted, and of the experiment if it is deleted."""
        with _transaction(self.client) as connection:
            runs = _rows(connection, "runs", experiment_id=self.experiment_id, lifecycle_stage="deleted")
            experiments = _rows(connection, "experiments", experiment_id=self.experiment_id, lifecycle_stage="deleted")
        return {run["run_uuid"] for run in runs} | {str(one["experiment_id"]) for one in experiments}

    def _apply(self, changes: Mapping[str, Change]) -> None:
        if self._template is None:
            self._create_first(changes)
        for run, change in changes.items():
            if change.start is not None:
                self.ids.setdefault(run, run.removeprefix("run-"))
            self._id(run)  # raises if there is none: of an error in a transaction MLflow makes one that may pass
            self._attach(run, change)
        with _transaction(self.client) as connection:
            self._insert_runs(connection, changes)
            self._insert_points(connection, changes)
            ends = [(*change.end, self._id(run)) for run, change in changes.items() if change.end is not None]
            if ends:
                text = "UPDATE runs SET status = ?, end_time = ? WHERE run_uuid = ?"
                connection.exec_driver_sql(text, ends)
        for run, change in changes.items():
            self._register(run, change)

    def _create_first(self, changes: Mapping[str, Change]) -> None:
        """Let MLflow create the first run that has data, or add the data to it if it exists, and keep its rows."""
        for run, change in changes.items():
            if change.data is not None:
                self._create(run, change)
                self._add_data(run, change)
                with _transaction(self.client) as connection:
                    run_id = self._id(run)
                    (row,) = _rows(connection, "runs", run_uuid=run_id)
                    (dataset_input,) = _rows(connection, "inputs", destination_id=run_id, source_type="DATASET")
                    tags = _rows(connection, "input_tags", input_uuid=dataset_input["input_uuid"])
                row |= {"status": "RUNNING", "end_time": None}
                self._template = _Template(run=row, dataset_input=dataset_input, tags=tags)
                return

    def _attach(self, run: str, change: Change) -> None:
        """Write files, by path, as artifacts of a run: into the folder that MLflow would copy them to."""
        folder = folder_of(self._template.artifact_uri(self._id(run))) if self._template else Path()
        if not folder.is_absolute():
            super()._attach(run, change)
            return
        self._write_files(folder, change)
        change.files = {}

    def _insert_runs(self, connection: Any, changes: Mapping[str, Change]) -> None:
        """Insert the runs that are to be created, and their data sets."""
        created = {self._id(run): (run, change) for run, change in changes.items() if change.start is not None}
        if not created:
            return
        template = self._template
        assert template is not None, "the first run has been made"
        runs, inputs, input_tags, texts = [], [], [], []
        for new, (run, change) in created.items():
            values = {"run_uuid": new, "name": change.name, "start_time": change.start}
            values["user_id"] = change.tags.get("mlflow.user", "unknown")
            values["artifact_uri"] = template.artifact_uri(new)
            runs.append({**template.run, **values})
            texts += _texts(new, {"mlflow.runName": change.name, RUN_TAG: run})
            inputs.append({**template.dataset_input, "input_uuid": new, "destination_id": new})
            input_tags += [{**tag, "input_uuid": new} for tag in template.tags]
        for table, rows in (("runs", runs), ("inputs", inputs), ("input_tags", input_tags)):
            _insert(connection, table, tuple(rows[0]), [tuple(row.values()) for row in rows])
        _insert(connection, "tags", _TEXT, texts)

    def _insert_points(self, connection: Any, changes: Mapping[str, Change]) -> None:
        """Insert points, params and tags."""
        metrics: list[tuple[Any, ...]] = []
        latest: dict[tuple[str, str], tuple[Any, ...]] = {}
        params, tags = [], []
        for run, change in changes.items():
            run_id = self._id(run)
            for block in change.points:
                rows = _metrics(block, run_id)
                metrics += rows
                latest[run_id, block[0]] = rows[-1]  # the points of a metric are in order
            params += _texts(run_id, change.params)
            tags += _texts(run_id, {key: self.with_ids(value) for key, value in change.tags.items()})
            tags += _texts(run_id, {} if change.entries is None else {ENTRIES_TAG: str(change.entries)})
        # A sweep's indices outgrow SQLite's cache of 2 MB; the pages written twice would take a fifth of the time.
        connection.exec_driver_sql("PRAGMA cache_size = -65536")
        _insert(connection, "metrics", _METRIC, metrics)
        update = ("value", "is_nan", "timestamp", "step")
        _insert(connection, "latest_metrics", _METRIC, list(latest.values()), update=update)
        _insert(connection, "params", _TEXT, params)
        _insert(connection, "tags", _TEXT, tags, update=("value",))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Template:
    """The rows of the run that MLflow has created; a record has one data set."""

    run: Row
    dataset_input: Row
    tags: list[Row]

    def artifact_uri(self, run_id: str) -> str:
        """Return the address of the artifacts of a run."""
        return str(self.run["artifact_uri"]).replace(self.run["run_uuid"], run_id)


def _obstacle(client: MlflowClient) -> str:
    """Return why a client's SQLite store cannot be written through its tables, empty if it can."""
    try:
        with _transaction(client) as connection:
            revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except (AttributeError, TypeError) as error:
        return f"this version of MLflow has other internals ({error})"
    known = revision in TESTED_REVISIONS
    return "" if known else f"its tables have revision {revision}, which was not tested"


@contextlib.contextmanager
def _transaction(client: MlflowClient) -> Iterator[Any]:
    """Yield a connection in a transaction of MLflow's own session, which raises MLflow's errors."""
    store: Any = client._tracking_client.store  # noqa: SLF001  # sessions have no public access
    with store.ManagedSessionMaker(read_only=False) as session:
        yield session.connection()


def _rows(connection: Any, table: str, **where: str) -> list[Row]:
    condition = " AND ".join(f"{name} = ?" for name in where)
    found = connection.exec_driver_sql(f"SELECT * FROM {table} WHERE {condition}", tuple(where.values()))  # noqa: S608  # no user's text
    return [dict(row) for row in found.mappings()]


def _insert(
    connection: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], *, update: Sequence[str] = ()
) -> None:
    """Insert rows; on a conflict set the columns ``update`` of the existing row, or do nothing."""
    if not rows:
        return
    text = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608  # no user's text
    changes = ", ".join(f"{name} = excluded.{name}" for name in update)
    text += f" ON CONFLICT (key, run_uuid) DO UPDATE SET {changes}" if update else " ON CONFLICT DO NOTHING"
    connection.exec_driver_sql(text, rows)


def _texts(run_id: str, texts: Mapping[str, str]) -> list[tuple[Any, ...]]:
    return [(key, value, run_id) for key, value in texts.items()]


def _metrics(block: Block, run_id: str) -> list[tuple[Any, ...]]:
    key, values, times, steps = block
    is_nan, stored = repeat(False), values.tolist()
    if not np.isfinite(values).all():
        # MLflow stores NaN and infinity this way: SQL has neither.
        is_nan = np.isnan(values).tolist()
        stored = np.nan_to_num(values, nan=0.0).tolist()
    # Not strict: `repeat` is endless.
    return list(zip(repeat(key), stored, is_nan, times.tolist(), steps.tolist(), repeat(run_id)))
