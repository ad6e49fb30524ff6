"""Where a store is: its address made absolute, shown without credentials, probed before anyone waits for it."""

from __future__ import annotations

import re
import shlex
import socket
import sqlite3
import urllib.parse
import urllib.request
from pathlib import Path

from pipeline.recorder.protocol import RecordError

PROBE_SECONDS = 5.0

_SECRET = re.compile(r"(?i)\b([\w.-]*(?:password|passwd|pwd|token|secret|api_?key|access_?key)[\w.-]*)=[^\s&;]+")
# To the last @ of the word, since a password may hold an @ or a slash, or of the host, since it may hold a space.
_USER_INFO = re.compile(r"://(?:\S*|[^/\n]*)@")
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


def redact(text: str) -> str:
    """Return ``text`` without the credentials in its addresses and its assignments.

    >>> redact("tracking.uri=http://ann:pass@host:5000 api_key=abc steps=10")
    'tracking.uri=http://***@host:5000 api_key=*** steps=10'
    """
    return _SECRET.sub(r"\1=***", _USER_INFO.sub("://***@", text))


def absolute(uri: str) -> str:
    """Return ``uri`` with the path of an SQLite file made absolute, so that it holds from any folder."""
    file = sqlite_file(uri)
    return uri if file is None else f"sqlite:///{file}"


def sqlite_file(uri: str) -> Path | None:
    """Return the absolute path of the SQLite file that ``uri`` names, None for any other store."""
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix)).absolute() if uri.startswith(prefix) else None


def is_http(uri: str) -> bool:
    """Return whether ``uri`` is a tracking server's."""
    return uri.startswith(("http://", "https://"))


def unreachable(uri: str, reason: object) -> RecordError:
    """Return the error for a store that does not answer."""
    return RecordError(f"tracking.uri must be a store that can be reached, got {redact(uri)!r}: {redact(str(reason))}")


def probe(uri: str, *, create: bool) -> None:
    """Raise a `RecordError` at once for a store that is plainly not there.

    Without this MLflow finds out only after minutes of retries. ``create`` says whether an SQLite file
    that does not exist yet will do.
    """
    file = sqlite_file(uri)
    if file is not None:
        _probe_file(uri, file, create=create)
        return
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


def how_to_look(uri: str, experiment_id: str, *, sweep: str | None, run: str | None) -> str:
    """Return the command that opens the store and the link to a sweep's charts, or to a lone trial's run.

    MLflow opens an experiment in its layout for language models unless the link asks for the other. Which
    runs and columns are shown is what the sweep's `view` says.
    """
    query = {"workflowType": "machine_learning"}
    page = f"experiments/{experiment_id}/runs"
    if sweep is not None:
        query |= {"compareRunsMode": "CHART", "viewStateShareKey": sweep}
    elif run is not None:
        page += f"/{run}"
    base = redact(uri.rstrip("/")) if is_http(uri) else "http://127.0.0.1:5000"
    link = f"{base}/#/{page}?{urllib.parse.urlencode(query, quote_via=urllib.parse.quote)}"
    return link if is_http(uri) else f"mlflow ui --backend-store-uri {shlex.quote(redact(uri))}\n{link}"


def _probe_file(uri: str, file: Path, *, create: bool) -> None:
    if not create and not file.is_file():
        raise unreachable(uri, "there is no such file")
    try:
        if create:
            file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(file, timeout=PROBE_SECONDS)
        try:
            # Taking and leaving the write lock shows that the file is a database and may be written to.
            connection.execute("BEGIN IMMEDIATE" if create else "SELECT 1 FROM sqlite_master LIMIT 1")
            connection.rollback()
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        raise unreachable(uri, error) from None


def _behind_a_proxy(scheme: str, host: str) -> bool:
    return scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)
