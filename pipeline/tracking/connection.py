"""Connects to an MLflow store in seconds, or says why it cannot, and tells its refusals from errors that may pass."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib
import importlib.util
import os
import re
import shlex
import socket
import sqlite3
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.address import IN_MEMORY, absolute, is_http, redact, sqlite_file, unreachable
from pipeline.config.environment import variables
from pipeline.errors import RecordError
from pipeline.tracking.relocation import artifact_folder, relocate

if TYPE_CHECKING:
    from mlflow import MlflowClient  # takes seconds to import

_PAGE_SIZE = 1000
_PROBE_SECONDS = 5.0

# With MLflow's defaults a dead server blocks its client for minutes. MLflow's own retries are off, and the exporter
# retries: MLflow would create a run twice if only the answer of the first request was lost.
_CONNECT_VARIABLES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": str(int(_PROBE_SECONDS))}
WRITE_VARIABLES = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a trial would disturb the display
}

_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_PORTS = {"http": 80, "https": 443} | _DATABASE_PORTS

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

# MLflow answers BAD_REQUEST to each error of its database that is not an OperationalError. Two of these may pass: no
# connection is left, or a restart of the database has closed one.
_CONNECTION_LOST = re.compile(
    r"QueuePool limit of size|Can't reconnect until invalid transaction"
    r"|\((?:psycopg2?|pymysql\.err|MySQLdb\._exceptions)\.InterfaceError\)"
)

# SQLAlchemy raises OperationalError for a missing table or column, but also for a database that cannot be reached.
_MISSING_TABLE = re.compile(r"OperationalError\) \(?(?:no such (?:table|column)|table \S+ has no column|1054\b)")

_SCRIPTS = "store/db_migrations/versions"
_REVISION = re.compile(r"^(down_)?revision\s*(?::[^=\n]*)?=\s*[\"'](\w+)[\"']", re.MULTILINE)


def probe(uri: str, *, create: bool, experiment: str | None = None) -> None:
    """Raise a `RecordError` within seconds if a store is not there, or its ``experiment`` is deleted.

    MLflow would raise only after minutes of retries. ``create`` allows an SQLite file that does not exist yet. MLflow
    can open every SQLite file that passes.
    """
    file = sqlite_file(uri)
    if file is not None:
        _probe_file(uri, file, create=create, experiment=experiment)
        return
    if not uri.strip():
        raise unreachable(uri, "an address is needed")
    if uri in IN_MEMORY:
        raise unreachable(uri, "that is a store in memory, which ends with the command")
    try:
        parts = urllib.parse.urlsplit(uri)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    except ValueError:
        # The text of the error would show a part of a password that holds a slash, as the port.
        raise unreachable(uri, "its host must be a name or an address, its port a number below 65536") from None
    if host is None or port is None:
        return
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return  # the proxy finds the host
    try:
        socket.create_connection((host, port), timeout=_PROBE_SECONDS).close()
    except OSError as error:
        raise unreachable(uri, error) from None


def import_store(uri: str) -> None:
    """Import what `connect` needs for a store at ``uri``, which takes more than a second of a core."""
    importlib.import_module(f"mlflow.store.tracking.{'rest' if is_http(uri) else 'sqlalchemy'}_store")


def connect(uri: str, *, create: bool, experiment: str | None = None) -> MlflowClient:
    """Return a client of the store at ``uri`` after it has answered; ``create`` allows to create an SQLite store.

    An ``experiment`` that is deleted raises a `RecordError`, as in `probe`, which cannot ask a server.
    """
    probe(uri, create=create, experiment=experiment)
    import sqlalchemy  # noqa: PLC0415  # takes seconds to import
    from mlflow import MlflowClient  # noqa: PLC0415  # takes seconds to import

    with answering(uri):
        if re.split("[+:]", uri)[0] in _DATABASE_PORTS:
            # MLflow would retry for 90 seconds even with a wrong password or a missing driver.
            with sqlalchemy.create_engine(uri).connect() as connection:
                if sqlalchemy.inspect(connection).has_table("alembic_version"):
                    _check_revision(uri, connection.exec_driver_sql)
        with _locked(uri), http_variables(uri, _CONNECT_VARIABLES):
            # A link stays one: MLflow makes the tables where it leads to.
            if (file := sqlite_file(uri)) and not (file.is_symlink() or (file.exists() and file.stat().st_size)):
                _create(uri, file)
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
            if experiment is not None and (found := client.get_experiment_by_name(experiment)):
                _require_active(found.name, found.lifecycle_stage)
            if file:
                relocate(file)
    return client


def _create(uri: str, file: Path) -> None:
    """Create an SQLite store beside its place, which it takes once it is complete.

    Created in place, the tables of a killed process would be incomplete, and MLflow could never use the store.
    """
    from mlflow import MlflowClient  # noqa: PLC0415  # takes seconds to import

    address, mark, query = uri.partition("?")
    fresh = file.with_name(f"{file.name}.part")
    journal = file.with_name(f"{fresh.name}-journal")
    for left in (fresh, journal):  # of a killed process
        left.unlink(missing_ok=True)
    try:
        MlflowClient(tracking_uri=f"{address}.part{mark}{query}").search_experiments(max_results=1)
        fresh.replace(file)
    finally:
        for left in (fresh, journal):
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def answering(uri: str, rule: str = "") -> Iterator[None]:
    """Raise a `RecordError` where a store does not answer in this context, or refuses what breaks a ``rule``."""
    import sqlalchemy  # noqa: PLC0415  # takes seconds to import
    from alembic.util.exc import CommandError  # noqa: PLC0415  # imports SQLAlchemy
    from mlflow.exceptions import MlflowException  # noqa: PLC0415  # takes seconds to import

    try:
        yield
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, CommandError, ImportError, OSError) as error:
        if rule and is_refusal(error):
            raise RecordError(f"{rule}: {error}") from None
        raise unreachable(uri, error) from error


def open_experiment(client: MlflowClient, uri: str, name: str) -> str:
    """Return the id of an experiment, which is created if it is not there; a deleted one raises a `RecordError`."""
    with answering(uri), _locked(uri), http_variables(uri, _CONNECT_VARIABLES):
        found = client.get_experiment_by_name(name)
        if found is None:
            file = sqlite_file(uri)
            # A URI and not a path: MLflow would decode a % in a path.
            place = artifact_folder(file, name).as_uri() if file else None
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return str(client.create_experiment(name, artifact_location=place, tags=kind))
    _require_active(name, found.lifecycle_stage)
    return str(found.experiment_id)


def _require_active(experiment: str | None, stage: str) -> None:
    """Raise a `RecordError` if an experiment has been deleted: MLflow keeps its name."""
    if stage != "active":
        raise RecordError(f"tracking.experiment must be an experiment that is not deleted, got {experiment!r}")


def children(client: MlflowClient, experiment_id: str, parent: str) -> Iterator[Any]:
    """Yield the runs of a sweep's trials."""
    return search_runs(client, experiment_id, f"tags.`mlflow.parentRunId` = '{parent}'")


def search_runs(client: MlflowClient, experiment_id: str, wanted: str) -> Iterator[Any]:
    """Yield the runs of an experiment that match a filter."""
    page = None
    while page != "":
        runs = client.search_runs([experiment_id], wanted, max_results=_PAGE_SIZE, page_token=page)
        yield from runs
        page = runs.token or ""


def is_refusal(error: Exception) -> bool:
    """Return whether an error is permanent: the store refuses the write, instead of being unavailable."""
    code = getattr(error, "error_code", None)
    if _TOO_LARGE in str(error) or getattr(getattr(error, "response", None), "status_code", None) == _STATUS_TOO_LARGE:
        return True
    if code is not None:
        return code in _REFUSED_CODES and not _CONNECTION_LOST.search(str(error).partition("\n")[0])
    # An error without a code is transient if it is a database's (SQLAlchemy) or one of network or files (OSError).
    return not isinstance(error, OSError) and not type(error).__module__.startswith("sqlalchemy.")


def refusals(write: Callable[[], object]) -> list[Exception]:
    """Write, and return the error if the store refuses the write for good; raise any other error.

    The error is returned without its frames and its causes: they would keep the data of the write in memory.
    """
    try:
        write()
    except Exception as error:
        if not is_refusal(error):
            raise
        error.__cause__ = error.__context__ = None
        return [error.with_traceback(None)]
    return []


def lacks_tables(error: Exception) -> bool:
    """Return whether an error says that the store lacks a table or a column of MLflow: retries would fail, too."""
    return _MISSING_TABLE.search(str(error)) is not None


def http_variables(uri: str, values: Mapping[str, str]) -> contextlib.AbstractContextManager[None]:
    """Set environment variables of MLflow for a while if ``uri`` is a server's, except those that the user has set."""
    return variables({name: value for name, value in values.items() if name not in os.environ} if is_http(uri) else {})


@functools.cache
def revisions() -> tuple[frozenset[str], str | None]:
    """Return the revisions that the installed MLflow knows, and the last of them, None if that is ambiguous.

    They are read without MLflow, whose import takes seconds.
    """
    spec = importlib.util.find_spec("mlflow")
    assert spec is not None, "MLflow is installed"
    scripts = Path(str(spec.origin)).parent.joinpath(_SCRIPTS).glob("*.py")
    found = [pair for script in scripts for pair in _REVISION.findall(script.read_text(encoding="utf-8"))]
    known = frozenset(revision for down, revision in found if not down)
    heads = known.difference(revision for down, revision in found if down)
    return known, next(iter(heads)) if len(heads) == 1 else None


@contextlib.contextmanager
def _locked(uri: str) -> Iterator[None]:
    """Lock out other processes while an SQLite store is created: MLflow itself does not."""
    file = sqlite_file(uri)
    if file is None:
        yield
        return
    # The folder is locked, and not a file, so that no lock file remains.
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _probe_file(uri: str, file: Path, *, create: bool, experiment: str | None) -> None:
    if not create and not file.is_file():
        raise unreachable(uri, "there is no such file (--tracking-uri or MLFLOW_TRACKING_URI names another)")
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=file.parent).close()  # as SQLite will, and leaves nothing behind
            return
        with contextlib.closing(sqlite3.connect(file, timeout=_PROBE_SECONDS)) as connection:
            if create:  # a write that is rolled back shows that the file and its folder are writable
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("CREATE TABLE descent_sweeps_probe (x)")
                connection.rollback()
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
                if not create:
                    raise unreachable(uri, "it holds no tables of MLflow (--tracking-uri names another store)")
                return  # MLflow will create its tables
            _check_revision(uri, connection.execute)
            stages = connection.execute("SELECT lifecycle_stage FROM experiments WHERE name = ?", (experiment,))
            for (stage,) in stages:
                _require_active(experiment, stage)
    except (OSError, sqlite3.Error) as error:
        raise unreachable(uri, error) from None


def _check_revision(uri: str, query: Callable[[str], Any]) -> None:
    """Raise a `RecordError` if the database at ``uri`` holds runs in tables of another version of MLflow.

    ``query`` executes a statement and returns a cursor. A database of a known revision without runs is new, or its
    creation was interrupted: MLflow may complete it.
    """
    (found,) = query("SELECT version_num FROM alembic_version").fetchone() or (None,)
    known, head = revisions()
    if found is None or head in {None, found}:
        return
    if found in known:
        if query("SELECT COUNT(*) FROM runs").fetchone()[0] == 0:
            return
        how = (
            f"an older MLflow made it (revision {found}, this one has {head}): copy it to a safe place, then run "
            f"mlflow db upgrade {shlex.quote(redact(absolute(uri)))}"
        )
    else:
        how = f"another program made it, or a newer MLflow than is installed here (revision {found})"
    raise RecordError(f"tracking.uri must be a store with the tables of the MLflow here, got {redact(uri)!r}: {how}")
