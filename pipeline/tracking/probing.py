"""Probes a store: one that is absent, or cannot take the record, is refused within seconds."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import re
import shlex
import socket
import sqlite3
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.address import IN_MEMORY, absolute, redact, sqlite_file, unreachable
from pipeline.errors import RecordError

PROBE_SECONDS = 5.0

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_PROBE_STATEMENTS = ("BEGIN IMMEDIATE", "CREATE TABLE descent_sweeps_probe (x)")

Query = Callable[[str], Sequence[Any] | None]
"""Runs a statement in a database and returns its first row, None where there is none."""

_SCRIPTS = "store/db_migrations/versions"
_REVISION = re.compile(r"^(down_)?revision\s*(?::[^=\n]*)?=\s*[\"'](\w+)[\"']", re.MULTILINE)


def deleted(experiment: str) -> RecordError:
    """Return the error for an experiment that has been deleted: MLflow keeps its name."""
    return RecordError(f"tracking.experiment must be an experiment that is not deleted, got {experiment!r}")


def probe(uri: str, *, create: bool, experiment: str | None = None) -> None:
    """Raise a `RecordError` within seconds if a store is not there, or its ``experiment`` is deleted.

    MLflow would raise only after minutes of retries. ``create`` allows an SQLite file that does not exist yet. MLflow
    can open every SQLite file that passes.
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
        # The text of the error would show a part of a password that holds a slash, as the port.
        raise unreachable(uri, "its host must be a name or an address, its port a number below 65536") from None
    if host is None or port is None or _uses_proxy(parts.scheme, host):
        return
    try:
        socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise unreachable(uri, error) from None


def check_revision(uri: str, query: Query) -> None:
    """Raise a `RecordError` if the database at ``uri`` holds runs in tables of another version of MLflow.

    A database without runs is new, or its creation was interrupted: MLflow may complete it.
    """
    row = query("SELECT version_num FROM alembic_version")
    known, head = revisions()
    if row is None or row[0] == head or head is None:
        return
    count = query("SELECT COUNT(*) FROM runs")
    if count is None or count[0] == 0:
        return
    found = row[0]
    if found in known:
        how = (
            f"an older MLflow made it (revision {found}, this one has {head}): copy it to a safe place, then run "
            f"mlflow db upgrade {shlex.quote(redact(absolute(uri)))}"
        )
    else:
        how = f"another program made it, or a newer MLflow than is installed here (revision {found})"
    raise RecordError(f"tracking.uri must be a store with the tables of the MLflow here, got {redact(uri)!r}: {how}")


@functools.cache
def revisions() -> tuple[frozenset[str], str | None]:
    """Return the revisions that the installed MLflow knows, and the last of them, None if that is ambiguous.

    They are read without MLflow, whose import takes seconds.
    """
    spec = importlib.util.find_spec("mlflow")
    places = (spec.submodule_search_locations if spec else None) or []
    known: set[str] = set()
    superseded: set[str] = set()
    for place in places:
        for script in Path(place, _SCRIPTS).glob("*.py"):
            for down, revision in _REVISION.findall(script.read_text(encoding="utf-8")):
                (superseded if down else known).add(revision)
    heads = known - superseded
    return frozenset(known), heads.pop() if len(heads) == 1 else None


def _probe_file(uri: str, file: Path, *, create: bool, experiment: str | None) -> None:
    if not create and not file.is_file():
        raise unreachable(uri, "there is no such file (--tracking-uri or MLFLOW_TRACKING_URI names another)")
    try:
        if create:
            file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(file, timeout=PROBE_SECONDS)
        try:
            # A write that is rolled back shows that the file is a database, and that it and its folder are writable.
            for statement in _PROBE_STATEMENTS if create else ("SELECT 1 FROM sqlite_master LIMIT 1",):
                connection.execute(statement)
            connection.rollback()
            _check_tables(uri, connection, experiment)
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        raise unreachable(uri, error) from None


def _check_tables(uri: str, connection: sqlite3.Connection, experiment: str | None) -> None:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
        return  # MLflow will create its tables
    check_revision(uri, lambda statement: connection.execute(statement).fetchone())
    statement = "SELECT lifecycle_stage FROM experiments WHERE name = ?"
    with contextlib.suppress(sqlite3.OperationalError):  # the creation of the store was interrupted
        stage = connection.execute(statement, (experiment,)).fetchone()
        if stage is not None and stage[0] != "active":
            raise deleted(str(experiment))


def _uses_proxy(scheme: str, host: str) -> bool:
    return scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)
