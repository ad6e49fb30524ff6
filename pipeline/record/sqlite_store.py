"""An SQLite store, written to through MLflow's own tables: the driver has no CPU to spare while its workers compute.

What MLflow checks of names and lengths is not checked again: the recorder makes them, and shortens what is long.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.address import sqlite_file
from pipeline.record.outbox import Change
from pipeline.record.points import Block
from pipeline.record.store import ENTRIES_TAG, RUN_TAG, Store, connect, is_refusal

if TYPE_CHECKING:
    from mlflow import MlflowClient  # takes seconds to import

Row = dict[str, Any]

TESTED_REVISIONS = {
    "da6fb0208061",  # MLflow 3.13
    "b7e4c1a90f23",  # MLflow 3.14
    "6f8d9c3b2a1e",  # MLflow 3.15
    "b7e2c1a4d9f3",  # MLflow 3.16
    "dc11669786a5",  # MLflow 3.17
}
"""The revisions of MLflow's tables that this module was tested with: any other is written to by MLflow itself."""

_METRIC = ("key", "value", "is_nan", "timestamp", "step", "run_uuid")
_TEXT = ("key", "value", "run_uuid")

_log = logging.getLogger(__name__)


def open_store(uri: str, experiment: str) -> Store:
    """Return the store at ``uri``, opened for an experiment, of the kind that writes to it fastest; see `Store`."""
    client = connect(uri, create=True)
    if sqlite_file(uri) is None:
        return Store(uri, experiment, client)
    if obstacle := _obstacle(client):
        _log.warning("the store is written to by MLflow's own API, which takes longer: %s", obstacle)
        return Store(uri, experiment, client)
    return SqliteStore(uri, experiment, client)


class SqliteStore(Store):
    """A store in an SQLite file, in which runs are made like the first one, which MLflow has made.

    MLflow looks everything up and loads it again before and after it writes: a run, its data set, its end and its
    artifacts were 39 ms of a core. ``log_batch`` builds an object a point, looks the run up five times and commits
    four times a call: 117 us a point, and 12 us this way, of which SQLite's three indices take most.
    """

    def __init__(self, uri: str, experiment: str, client: MlflowClient) -> None:
        super().__init__(uri, experiment, client)
        self._first: _FirstRun | None = None

    def apply(self, changes: Mapping[str, Change], root: str | None = None, entries: int = 0) -> list[Exception]:
        """Write changes as `Store.apply` does, all in one transaction; where it is refused, those of a run each."""
        deleted = self._deleted()
        kept = {run: change for run, change in changes.items() if self.ids.get(run, run) not in deleted}
        if self.experiment_id in deleted or len(kept) < len(changes):
            refused = super().apply({run: changes[run] for run in changes.keys() - kept.keys()} or changes)  # says why
            return refused + (self.apply(kept) if kept and self.experiment_id not in deleted else [])
        try:
            self._apply(changes, root, entries)
        except Exception as error:
            if not is_refusal(error):
                raise
            if len(changes) == 1:
                return [error]
        else:
            return []
        return [error for run, change in changes.items() for error in self.apply({run: change})]

    def _deleted(self) -> set[str]:
        """Return the ids of the experiment and of its runs where a person has deleted them."""
        with _transaction(self.client) as connection:
            runs = _rows(connection, "runs", experiment_id=self.experiment_id, lifecycle_stage="deleted")
            experiments = _rows(connection, "experiments", experiment_id=self.experiment_id, lifecycle_stage="deleted")
        return {run["run_uuid"] for run in runs} | {str(one["experiment_id"]) for one in experiments}

    def _apply(self, changes: Mapping[str, Change], root: str | None, entries: int) -> None:
        if self._first is None:
            self._create_first(changes)
        for run, change in changes.items():
            if change.start is not None:
                self.ids.setdefault(run, run.removeprefix("run-"))
            self._attach(run, change)
        with _transaction(self.client) as connection:
            self._insert_runs(connection, changes)
            self._insert_points(connection, changes)
            ends = [(*change.end, self._id(run)) for run, change in changes.items() if change.end is not None]
            if ends:
                text = "UPDATE runs SET status = ?, end_time = ? WHERE run_uuid = ?"
                connection.exec_driver_sql(text, ends)
            if root is not None:
                _insert(connection, "tags", _TEXT, [(ENTRIES_TAG, str(entries), self._id(root))], update=("value",))
        for run, change in changes.items():
            self._register(run, change)

    def _create_first(self, changes: Mapping[str, Change]) -> None:
        """Have MLflow make the first run that has data, or give data to the first that has none yet."""
        for run, change in changes.items():
            if change.data is not None:
                data = change.data
                self._create(run, change)
                self._add_data(run, change)
                with _transaction(self.client) as connection:
                    made = self._id(run)
                    (own,) = _rows(connection, "runs", run_uuid=made)
                    (dataset_input,) = _rows(connection, "inputs", destination_id=made, source_type="DATASET")
                    tags = _rows(connection, "input_tags", input_uuid=dataset_input["input_uuid"])
                own |= {"status": "RUNNING", "end_time": None}
                self._first = _FirstRun(
                    run=own, folder=_folder(self.client, made), data=data, dataset_input=dataset_input, tags=tags
                )
                return

    def _attach(self, run: str, change: Change) -> None:
        """Keep files, by path, as artifacts of a run: in the folder that MLflow would copy them to."""
        if self._first is None or self._first.folder is None:
            super()._attach(run, change)
            return
        folder = Path(self._first.folder.replace(self._first.run["run_uuid"], self._id(run)))
        for name, content in change.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self._file_with_ids(name, content))
        change.files = {}

    def _insert_runs(self, connection: Any, changes: Mapping[str, Change]) -> None:
        """Insert runs that are to be created, and what data they are given."""
        made = {self._id(run): (run, change) for run, change in changes.items() if change.start is not None}
        if not made:
            return
        first = self._first
        assert first is not None, "the first run has been made"
        runs, inputs, input_tags, texts = [], [], [], []
        for new, (run, change) in made.items():
            own = {"run_uuid": new, "name": change.name, "start_time": change.start}
            own["user_id"] = change.tags.get("mlflow.user", "unknown")
            own["artifact_uri"] = first.run["artifact_uri"].replace(first.run["run_uuid"], new)
            runs.append({**first.run, **own})
            texts += _texts(new, {"mlflow.runName": change.name, RUN_TAG: run})
            if change.data == first.data:
                inputs.append({**first.dataset_input, "input_uuid": new, "destination_id": new})
                input_tags += [{**tag, "input_uuid": new} for tag in first.tags]
        for table, rows in (("runs", runs), ("inputs", inputs), ("input_tags", input_tags)):
            if rows:
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
                latest[run_id, block[0]] = rows[-1]  # a run's points of a metric come in order
            params += _texts(run_id, change.params)
            tags += _texts(run_id, {key: self.with_ids(value) for key, value in change.tags.items()})
        # A sweep's indices outgrow SQLite's 2 MB, and a page written twice costs a fifth of the time.
        connection.exec_driver_sql("PRAGMA cache_size = -65536")
        _insert(connection, "metrics", _METRIC, metrics)
        update = ("value", "is_nan", "timestamp", "step")
        _insert(connection, "latest_metrics", _METRIC, list(latest.values()), update=update)
        _insert(connection, "params", _TEXT, params)
        _insert(connection, "tags", _TEXT, tags, update=("value",))


@dataclass(frozen=True, slots=True, kw_only=True)
class _FirstRun:
    """The rows of a run that MLflow has made, the ``data`` that it was ``given``, and the folder of its artifacts."""

    run: Row
    folder: str | None
    data: tuple[str, str]
    dataset_input: Row
    tags: list[Row]


def _obstacle(client: MlflowClient) -> str:
    """Return why a client's SQLite store is not written to through its tables, nothing where it is."""
    try:
        _ = client._tracking_client._get_artifact_repo  # noqa: SLF001  # what `_folder` needs
        with _transaction(client) as connection:
            revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except (AttributeError, TypeError) as error:
        return f"this MLflow is built in another way ({error})"
    known = revision in TESTED_REVISIONS
    return "" if known else f"its tables, of revision {revision}, are of another version than was tested"


@contextlib.contextmanager
def _transaction(client: MlflowClient) -> Iterator[Any]:
    """Yield a connection in a transaction of MLflow's own session, whose errors are MLflow's."""
    store: Any = client._tracking_client.store  # noqa: SLF001  # nothing public has its sessions
    with store.ManagedSessionMaker(read_only=False) as session:
        yield session.connection()


def _folder(client: MlflowClient, run_id: str) -> str | None:
    """Return the folder that a run's artifacts are kept in, None where they are kept otherwise."""
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository  # noqa: PLC0415  # takes seconds to import

    kept: Any = client._tracking_client._get_artifact_repo(run_id)  # noqa: SLF001  # it alone knows what a URI's %2F is
    return str(kept.artifact_dir) if isinstance(kept, LocalArtifactRepository) else None


def _rows(connection: Any, table: str, **where: str) -> list[Row]:
    condition = " AND ".join(f"{name} = ?" for name in where)
    found = connection.exec_driver_sql(f"SELECT * FROM {table} WHERE {condition}", tuple(where.values()))  # noqa: S608  # no user's text
    return [dict(row) for row in found.mappings()]


def _insert(
    connection: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], *, update: Sequence[str] = ()
) -> None:
    """Insert rows; one whose key is there already changes the columns ``update`` of that."""
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
    is_nan, stored = repeat(False), values.tolist()  # a column
    if not np.isfinite(values).all():
        # As MLflow stores them: SQL has no NaN and no infinity.
        is_nan = np.isnan(values).tolist()
        stored = np.nan_to_num(values, nan=0.0).tolist()
    return list(zip(repeat(key), stored, is_nan, times.tolist(), steps.tolist(), repeat(run_id)))  # endless
