"""Probing a store: what is not there, or cannot take the record, is found out before anyone waits for it."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import urllib.parse
import urllib.request
from pathlib import Path

from pipeline.address import IN_MEMORY, sqlite_file, unreachable
from pipeline.errors import RecordError
from pipeline.record.revision import check_revision

PROBE_SECONDS = 5.0

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_TRYING = ("BEGIN IMMEDIATE", "CREATE TABLE descent_sweeps_probe (x)")


def deleted(experiment: str) -> RecordError:
    """Return the error for an experiment that has been deleted: MLflow keeps its name."""
    return RecordError(f"tracking.experiment must be an experiment that is not deleted, got {experiment!r}")


def probe(uri: str, *, create: bool, experiment: str | None = None) -> None:
    """Raise a `RecordError` at once for a store that is plainly not there, or not one for ``experiment``.

    Without this MLflow finds out only after minutes of retries. ``create`` says whether an SQLite file
    that does not exist yet will do; of one that passes MLflow has nothing more to refuse.
    """
    file = sqlite_file(uri)
    if file is not None:
        _probe_file(uri, file, create=create, experiment=experiment)
        return
    if uri in IN_MEMORY:
        raise unreachable(uri, "that is a store in memory, which ends with the command")
    try:
        parts = urllib.parse.urlsplit(uri)
        host, port = parts.hostname, parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    except ValueError:
        # The error would say what it took for the port: a part of a password that holds a slash.
        raise unreachable(uri, "its host must be a name or an address, its port a number below 65536") from None
    if host is None or port is None or _behind_a_proxy(parts.scheme, host):
        return
    try:
        socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise unreachable(uri, error) from None


def _probe_file(uri: str, file: Path, *, create: bool, experiment: str | None) -> None:
    if not create and not file.is_file():
        raise unreachable(uri, "there is no such file (--tracking-uri or MLFLOW_TRACKING_URI names another)")
    try:
        if create:
            file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(file, timeout=PROBE_SECONDS)
        try:
            # Writing, and taking it back, shows that the file is a database and may be written to, and its folder.
            for statement in _TRYING if create else ("SELECT 1 FROM sqlite_master LIMIT 1",):
                connection.execute(statement)
            connection.rollback()
            _check_tables(uri, connection, experiment)
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        raise unreachable(uri, error) from None


def _check_tables(uri: str, connection: sqlite3.Connection, experiment: str | None) -> None:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return  # MLflow will make its tables
    check_revision(uri, lambda statement: connection.execute(statement).fetchone())
    statement = "SELECT lifecycle_stage FROM experiments WHERE name = ?"
    with contextlib.suppress(sqlite3.OperationalError):  # a store that was left half made
        stage = connection.execute(statement, (experiment,)).fetchone()
        if stage is not None and stage[0] != "active":
            raise deleted(str(experiment))


def _behind_a_proxy(scheme: str, host: str) -> bool:
    return scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)
