"""An open MLflow store: the connection to it, and the runs of one experiment, written through MLflow's API."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.address import is_http, sqlite_file, unreachable
from pipeline.record.model import register
from pipeline.record.outbox import Change
from pipeline.record.probing import PROBE_SECONDS, check_revision, deleted, probe
from pipeline.record.relocation import artifact_folder, relocate

if TYPE_CHECKING:
    from mlflow import MlflowClient  # takes seconds to import

RUN_TAG = "recorder.run"
"""The tag of a run that holds the recorder's own name of it, by which it is found again."""

ENTRIES_TAG = "log.entries"
"""The tag of a sweep's run, or of a lone trial's, that counts the entries of its log that are in the store."""

RUN_NAME = re.compile(r"run-[0-9a-f]{32}")
"""The recorder's own name of a run: the store gives it an id only when it is created."""

METRICS_PER_BATCH, OTHERS_PER_BATCH = 1000, 100
_PAGE_SIZE = 1000

_DATABASE_SERVER = re.compile(r"(?:postgresql|mysql|mssql)(?:\+\w+)?://")
"""The scheme of the address of a database server."""

# Error codes of a store that will refuse a write however often it is retried. The HTTP status does not tell: a proxy
# in front of a server that is starting answers 404, too, and a wrong password may be corrected.
_REFUSED_CODES = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}

# One status does tell: a proxy with a size limit refuses each retry, and later writes are smaller.
_STATUS_TOO_LARGE = 413
_TOO_LARGE = f"failed with error code {_STATUS_TOO_LARGE}"

# SQLAlchemy raises OperationalError for a missing table or column, but also for a database that cannot be reached.
_MISSING_TABLE = re.compile(r"OperationalError\) \(?(?:no such (?:table|column)|table \S+ has no column|1054\b)")

# With MLflow's defaults a dead server blocks its client for minutes. MLflow's own retries are off, and the exporter
# retries: MLflow would create a run twice if only the answer of the first request was lost.
CONNECT_VARIABLES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(int(PROBE_SECONDS))}
WRITE_VARIABLES = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a trial would disturb the display
}


class Store:
    """The store at ``uri``, reached by ``client``, and its experiment, which is created if it is not there.

    ``ids`` maps the recorder's own names of runs to their ids in the store; ``answered`` is when that last answered.

    Raises
    ------
    RecordError
        If the experiment has been deleted.
    """

    def __init__(self, uri: str, experiment: str, client: MlflowClient) -> None:
        self.uri = uri
        self.client = client
        self.ids: dict[str, str] = {}
        self.answered = time.monotonic()
        self.given_up = False  # another process may write the rest: write nothing more
        self._attempted: set[str] = set()
        self._unconfirmed: set[str] = set()
        with _locked(uri), mlflow_variables(CONNECT_VARIABLES if is_http(uri) else {}):
            self.experiment_id = _experiment(self.client, uri, experiment)

    def create_run(self, name: str, tags: Mapping[str, str], start: int) -> str:
        """Create a run that started at ``start`` (milliseconds since the epoch) and return its id."""
        created = self.client.create_run(self.experiment_id, start_time=start, tags=dict(tags), run_name=name)
        return str(created.info.run_id)

    def apply(self, changes: Mapping[str, Change], root: str | None = None, entries: int = 0) -> list[Exception]:
        """Write changes, by run, in order; return the errors of the writes that the store refuses for good.

        Writing is idempotent, and removes from the changes what is written. Any other error is raised: the rest can
        then be retried. At the end the run ``root`` is tagged with the number of ``entries`` of the log in the store.
        """
        refused: list[Exception] = []
        for run, change in changes.items():
            for write in (self._create, self._add_data, self._log_values, self._attach, self._end, self._register):
                if self.given_up:
                    raise TimeoutError("gave up waiting for the store")
                try:
                    write(run, change)
                except Exception as error:
                    if not is_refusal(error):
                        raise
                    refused.append(error)
        if root is not None and not refused:
            self.set_tags(self._id(root), {ENTRIES_TAG: str(entries)})
        return refused

    def load_ids(self, parent: str) -> None:
        """Load into ``ids`` the runs of a sweep that another process has created."""
        runs = children(self.client, self.experiment_id, parent)
        self.ids |= {run.data.tags[RUN_TAG]: run.info.run_id for run in runs if RUN_TAG in run.data.tags}

    def find(self, run: str) -> str | None:
        """Return the id of a run that may have been created by another process, or by a request without an answer.

        If such requests have created it more than once, all but one are deleted.
        """
        found = [
            one.info.run_id for one in self.client.search_runs([self.experiment_id], f"tags.`{RUN_TAG}` = '{run}'")
        ]
        chosen = self.ids.get(run) or next(iter(found), None)
        for other in found:
            if other != chosen:
                self.client.delete_run(other)
        if chosen is not None:
            self.ids[run] = chosen
        return chosen

    def delete_duplicates(self) -> None:
        """Delete the second runs of requests that had no answer and were carried out later."""
        for run in self._unconfirmed:
            self.find(run)

    def is_running(self, run: str) -> bool:
        """Return whether a run has been created and not ended."""
        return bool(self.client.get_run(self._id(run)).info.status == "RUNNING")

    def with_ids(self, text: str) -> str:
        """Return a text with the recorder's names of runs replaced by their ids in the store."""
        return RUN_NAME.sub(lambda match: self.ids.get(match[0], match[0]), text) if "run-" in text else text

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Add tags to a run."""
        for key, value in tags.items():
            self.client.set_tag(run_id, key, value)

    def _create(self, run: str, change: Change) -> None:
        if change.start is None:
            return
        if run in self._attempted and run not in self.ids:
            self._unconfirmed.add(run)
            self.find(run)
        self._attempted.add(run)
        if run not in self.ids:
            tags = {name: self.with_ids(value) for name, value in change.tags.items()}
            self.ids[run] = self.create_run(change.name, {**tags, RUN_TAG: run}, change.start)
            change.tags = {}
        change.start = None

    def _add_data(self, run: str, change: Change) -> None:
        """Log the data set of a run as its input. MLflow's own helper would copy and hash the images once more."""
        if change.data is None:
            return
        from mlflow.entities import Dataset as Entity  # noqa: PLC0415  # takes seconds to import
        from mlflow.entities import DatasetInput, InputTag  # noqa: PLC0415  # takes seconds to import
        from mlflow.exceptions import MlflowException  # noqa: PLC0415  # takes seconds to import
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415  # takes seconds to import

        # MLflow limits a digest to 36 characters; a tag of the run holds the whole.
        name, digest = change.data
        entity = Entity(name, digest[:36], source_type="local", source=name)
        inputs = [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])]
        try:
            self.client.log_inputs(self._id(run), inputs)
        except (MlflowException, SQLAlchemyError):
            # MLflow looks a data set up and then inserts it: when two sweeps do so at once the second insert fails,
            # and its retry finds the data set.
            self.client.log_inputs(self._id(run), inputs)
        change.data = None

    def _log_values(self, run: str, change: Change) -> None:
        """Write params, tags and points in batches of at most 1000 points, 100 params and 100 tags."""
        from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415  # takes seconds to import

        points = [
            Metric(metric, *point)
            for metric, values, times, steps in change.points
            for point in zip(values.tolist(), times.tolist(), steps.tolist(), strict=True)
        ]
        tags = [RunTag(key, self.with_ids(value)) for key, value in change.tags.items()]
        params = [Param(*param) for param in change.params.items()]
        for some_points, some_params, some_tags in zip_longest(
            _chunks(points, METRICS_PER_BATCH),
            _chunks(params, OTHERS_PER_BATCH),
            _chunks(tags, OTHERS_PER_BATCH),
            fillvalue=(),
        ):
            self.client.log_batch(
                self._id(run), metrics=some_points, params=some_params, tags=some_tags, synchronous=True
            )
            self.answered = time.monotonic()
        change.points, change.params, change.tags = [], {}, {}

    def _attach(self, run: str, change: Change) -> None:
        """Write files, by path, as artifacts of a run."""
        if not change.files:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, content in change.files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._file_with_ids(name, content))
            self.client.log_artifacts(self._id(run), folder)
        self.answered = time.monotonic()
        change.files = {}

    def _end(self, run: str, change: Change) -> None:
        """End a run as FINISHED, FAILED or KILLED."""
        if change.end is not None:
            status, end = change.end
            self.client.set_terminated(self._id(run), status, end_time=end)
            change.end = None

    def _register(self, run: str, change: Change) -> None:
        """Register a run's classifier as a version of its model, and tag the sweep's run with it."""
        if change.model is not None:
            run_id, trained = self._id(run), change.model
            version = register(self.client, self.uri, self.experiment_id, run_id, trained)
            parent = self.client.get_run(run_id).data.tags["mlflow.parentRunId"]
            self.set_tags(parent, {"winner.run_id": run_id, "winner.model": f"models:/{trained.name}/{version}"})
            change.model = None

    def _id(self, run: str) -> str:
        """Return the id of a run in the store."""
        found = self.ids.get(run) or (self.find(run) if RUN_NAME.fullmatch(run) else run)
        if found is None:
            raise LookupError(f"the store must hold the run {run}, which was created before; it does not")
        return found

    def _file_with_ids(self, name: str, content: bytes) -> bytes:
        return self.with_ids(content.decode()).encode() if name.endswith((".csv", ".json")) else content


def connect(uri: str, *, create: bool) -> MlflowClient:
    """Return a client of the store at ``uri`` after it has answered; ``create`` allows to create an SQLite store."""
    probe(uri, create=create)
    import sqlalchemy  # noqa: PLC0415  # takes seconds to import
    from mlflow import MlflowClient  # noqa: PLC0415  # takes seconds to import
    from mlflow.exceptions import MlflowException  # noqa: PLC0415  # takes seconds to import

    try:
        if _DATABASE_SERVER.match(uri):
            # MLflow would retry for 90 seconds even with a wrong password or a missing driver.
            with sqlalchemy.create_engine(uri).connect() as connection:
                if sqlalchemy.inspect(connection).has_table("alembic_version"):
                    check_revision(uri, lambda statement: connection.execute(sqlalchemy.text(statement)).fetchone())
        with _locked(uri), mlflow_variables(CONNECT_VARIABLES if is_http(uri) else {}):
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
            if file := sqlite_file(uri):
                relocate(file)
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, ImportError, OSError) as error:
        raise unreachable(uri, error) from error
    return client


def children(client: MlflowClient, experiment_id: str, parent: str) -> Iterator[Any]:
    """Yield the runs of a sweep's trials."""
    wanted, page = f"tags.`mlflow.parentRunId` = '{parent}'", None
    while page != "":
        runs = client.search_runs([experiment_id], wanted, max_results=_PAGE_SIZE, page_token=page)
        yield from runs
        page = runs.token or ""


@contextlib.contextmanager
def mlflow_variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of MLflow for a while, except those that the user has set."""
    new = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


def _experiment(client: MlflowClient, uri: str, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        file = sqlite_file(uri)
        # A URI and not a path: MLflow would decode a % in a path.
        place = artifact_folder(file, name).as_uri() if file else None
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return str(client.create_experiment(name, artifact_location=place, tags=kind))
    if found.lifecycle_stage != "active":
        raise deleted(name)
    return str(found.experiment_id)


@contextlib.contextmanager
def _locked(uri: str) -> Iterator[None]:
    """Lock out other processes while an SQLite store is created: MLflow itself does not."""
    file = sqlite_file(uri)
    if file is None or os.name != "posix":
        yield
        return
    import fcntl  # noqa: PLC0415  # POSIX only

    # The folder is locked, and not a file, so that no lock file remains.
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def is_refusal(error: Exception) -> bool:
    """Return whether an error is permanent: the store refuses the write, instead of being unavailable."""
    code = getattr(error, "error_code", None)
    if _TOO_LARGE in str(error) or getattr(getattr(error, "response", None), "status_code", None) == _STATUS_TOO_LARGE:
        return True
    if code is not None:
        return code in _REFUSED_CODES
    # An error without a code is transient if it is a database's (SQLAlchemy) or one of network or files (OSError).
    return not isinstance(error, OSError) and not type(error).__module__.startswith("sqlalchemy.")


def lacks_tables(error: Exception) -> bool:
    """Return whether an error says that the store lacks a table or a column of MLflow: retries would fail, too."""
    return _MISSING_TABLE.search(str(error)) is not None


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
