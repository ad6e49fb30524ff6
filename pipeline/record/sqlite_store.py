"""An SQLite store, written to through MLflow's own tables: the driver has no CPU to spare while its workers compute.

What MLflow checks of names and lengths is not checked again: the recorder makes them, and shortens what is long.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.address import sqlite_file
from pipeline.record.batches import Batch
from pipeline.record.points import Point
from pipeline.record.store import Store, connect

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
    """A store in an SQLite file, in which a run is made like the first one, which MLflow has made.

    MLflow looks everything up and loads it again before and after it writes: a run, its data set, its end and its
    artifacts were 39 ms of a core, and are 9 ms this way. ``log_batch`` builds an object a point, looks the run up
    five times and commits four times a call: 117 us a point, and 12 us this way, of which SQLite's three indices
    take most.
    """

    def __init__(self, uri: str, experiment: str, client: MlflowClient) -> None:
        super().__init__(uri, experiment, client)
        self._run: Row | None = None
        self._artifacts: str | None = None
        self._inputs: dict[tuple[str, str], tuple[Row, list[Row]]] = {}

    def create_run(self, name: str, tags: Mapping[str, str], start: int, *, run: str = "") -> str:
        """Create a run, as `Store.create_run` does."""
        if self._run is None:
            first = super().create_run(name, tags, start, run=run)
            with _transaction(self.client) as connection:
                (self._run,) = _rows(connection, "runs", run_uuid=first)
            self._artifacts = _folder(self.client, first)
            return first
        made = uuid.uuid4().hex
        texts = {**self.tags_of(tags, run), "mlflow.runName": name}
        own = {
            "run_uuid": made,
            "name": name,
            "user_id": texts.get("mlflow.user", "unknown"),
            "start_time": start,
            "artifact_uri": self._run["artifact_uri"].replace(self._run["run_uuid"], made),
        }
        with _transaction(self.client) as connection:
            if _rows(connection, "experiments", experiment_id=self.experiment_id, lifecycle_stage="active"):
                _insert_like(connection, "runs", [self._run], **own)
                _insert(connection, "tags", _TEXT, _texts(made, texts))
                return made
        return super().create_run(name, tags, start, run=run)  # which says why

    def add_dataset(self, run_id: str, name: str, digest: str) -> None:
        """Say what data a run was given, as the first run was."""
        known = self._inputs.get((name, digest))
        if known is None:
            super().add_dataset(run_id, name, digest)
            with _transaction(self.client) as connection:
                (row,) = _rows(connection, "inputs", destination_id=run_id, source_type="DATASET")
                self._inputs[name, digest] = row, _rows(connection, "input_tags", input_uuid=row["input_uuid"])
            return
        row, tags = known
        with _transaction(self.client) as connection:
            if _rows(connection, "inputs", destination_id=run_id, source_type="DATASET"):
                return
            made = uuid.uuid4().hex
            _insert_like(connection, "inputs", [row], input_uuid=made, destination_id=run_id)
            _insert_like(connection, "input_tags", tags, input_uuid=made)

    def end_run(self, run_id: str, status: str, end: int) -> None:
        """End a run as FINISHED, FAILED or KILLED."""
        text = "UPDATE runs SET status = ?, end_time = ? WHERE run_uuid = ? AND lifecycle_stage = 'active'"
        with _transaction(self.client) as connection:
            ended = connection.exec_driver_sql(text, (status, end, run_id)).rowcount
        if not ended:
            super().end_run(run_id, status, end)  # which says why

    def attach(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Keep files, by path, as artifacts of a run: in the folder that MLflow would copy them to."""
        if self._run is None or self._artifacts is None:
            super().attach(run_id, files)
            return
        folder = Path(self._artifacts.replace(self._run["run_uuid"], run_id))
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def write(self, batches: Mapping[str, Batch]) -> None:
        """Write the batches of all runs, by run id, in one transaction."""
        metrics, latest, params, tags = [], [], [], []
        for run_id, batch in batches.items():
            rows = [_metric(point, run_id) for point in batch.points]
            metrics += rows
            latest += list({row[0]: row for row in rows}.values())  # a run's points of a metric come in order
            params += _texts(run_id, batch.params)
            tags += _texts(run_id, batch.tags)
        with _transaction(self.client) as connection:
            # A sweep's indices outgrow SQLite's 2 MB, and a page written twice costs a fifth of the time.
            connection.exec_driver_sql("PRAGMA cache_size = -65536")
            _insert(connection, "metrics", _METRIC, metrics)
            _insert(connection, "latest_metrics", _METRIC, latest, update=("value", "is_nan", "timestamp", "step"))
            _insert(connection, "params", _TEXT, params)
            _insert(connection, "tags", _TEXT, tags, update=("value",))


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


def _insert_like(connection: Any, table: str, rows: Sequence[Row], **own: Any) -> None:
    """Insert rows that differ from given ones in the values of ``own`` alone."""
    for row in rows:
        changed = {**row, **own}
        _insert(connection, table, tuple(changed), [tuple(changed.values())])


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


def _metric(point: Point, run_id: str) -> tuple[Any, ...]:
    key, value, timestamp, step = point
    if math.isfinite(value):
        return key, value, False, timestamp, step, run_id
    # As MLflow stores them: SQL has no NaN and no infinity.
    stored = 0.0 if math.isnan(value) else math.copysign(sys.float_info.max, value)
    return key, stored, math.isnan(value), timestamp, step, run_id
