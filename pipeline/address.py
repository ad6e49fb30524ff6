"""The address of a store: made absolute, and printed without credentials."""

from __future__ import annotations

import os
import re
import shlex
import urllib.parse
from pathlib import Path

from pipeline.errors import RecordError

# In an override of Hydra's, `=`, `:` and a space may have a backslash before them.
_SECRET = re.compile(
    r"(?i)\b([\w.-]*(?:password|passwd|pwd|token(?![a-z])|secret|api_?key|access_?key)[\w.-]*)\\?=(?:\\.|[^\s&;])+"
)
# Up to the last @ of the word, since a password may hold an @ or a slash, or up to the @ before the host, since it may
# hold a space. A file's address has no user and password: an @ in it belongs to a folder.
_USER_INFO = re.compile(r"(?:(?<!sqlite)(?<!file)(?<!sqlite\\)(?<!file\\)://|://(?!/))(?:\S*|[^/\n]*)@")
_ACCESS = re.compile(r"(?:\+\w+)?://(?:.*@)?")
_HINT = re.compile(r"\A\(raised as a result of [^\n]*\n")
_FILE, _FILE_BY_DRIVER = "sqlite:///", "sqlite+pysqlite:///"

IN_MEMORY = ("sqlite://", _FILE, f"{_FILE}:memory:")
"""The addresses of SQLite stores that end with the process."""


def redact(text: str) -> str:
    """Return ``text`` with the credentials in its addresses and assignments redacted.

    >>> redact("tracking.uri=http://ann:pass@host:5000 api_key=abc steps=10")
    'tracking.uri=http://***@host:5000 api_key=*** steps=10'
    >>> redact("hub_token=abc max_tokens=128")
    'hub_token=*** max_tokens=128'
    """
    return _SECRET.sub(r"\1=***", _USER_INFO.sub("://***@", text))


def absolute(uri: str) -> str:
    """Return ``uri`` with the path of an SQLite file made absolute, so that it is valid in any working folder.

    Raises
    ------
    RecordError
        If SQLAlchemy has no address for that path.
    """
    file = sqlite_file(uri)
    if file is None:
        return uri
    _, mark, query = uri.partition("?")
    path = str(file)
    if not re.search("[%?]", path):
        return f"{_FILE}{path}{mark}{query}"
    quoted = path.replace("%", "%25").replace("?", "%3F") if _unquotes() else path
    if "?" in quoted:
        raise unreachable(uri, "SQLAlchemy 2.1 or later is needed for a path that holds a question mark")
    # MLflow would create the folders of the quoted path; it leaves an address of this form to SQLAlchemy.
    return f"{_FILE_BY_DRIVER}{quoted}{mark}{query}"


def sqlite_file(uri: str) -> Path | None:
    """Return the absolute path of the SQLite file that SQLAlchemy opens for ``uri``, None for any other store."""
    for prefix in (_FILE, _FILE_BY_DRIVER):
        if uri.startswith(prefix):
            path = uri.removeprefix(prefix).partition("?")[0]
            path = urllib.parse.unquote(path) if "%" in path and _unquotes() else path
            if path in {"", ":memory:"}:
                return None
            # As SQLAlchemy does, `..` and all; pathlib raises a RuntimeError for ~NAME if nobody has that name.
            return Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111
    return None


def database(uri: str) -> str:
    """Return what two addresses of one database have in common: the file, or the address without driver and user.

    >>> database("postgresql+psycopg2://ann:pass@host/runs")
    'postgresql://host/runs'
    """
    file = sqlite_file(uri)
    return _ACCESS.sub("://", uri) if file is None else os.path.realpath(file)


def is_http(uri: str) -> bool:
    """Return whether ``uri`` is the address of a tracking server."""
    return uri.startswith(("http://", "https://"))


def unreachable(uri: str, reason: object) -> RecordError:
    """Return the error for a store that does not answer."""
    return RecordError(f"tracking.uri must be a store that can be reached, got {redact(uri)!r}: {cause(reason)}")


def cause(error: object) -> str:
    r"""Return an error's message without credentials, and without what SQLAlchemy puts around it.

    >>> cause("(raised as a result of ...)\n(OperationalError) disk is full\n[SQL: INSERT ...]")
    '(OperationalError) disk is full'
    """
    return redact(_HINT.sub("", str(error)).partition("\n[SQL: ")[0])


def how_to_look(uri: str, experiment_id: str, *, sweep: str | None, run: str | None) -> str:
    """Return the command that opens the store and the link to a sweep's charts, or to a lone trial's run.

    The link asks for MLflow's machine-learning layout, since its default is the one for language models. The runs and
    columns that it shows are those of the sweep's view (`pipeline.results.page.sweep_view`).
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


def _unquotes() -> bool:
    """Return whether SQLAlchemy unquotes a path (%25 as %), which it does from 2.1 on."""
    from sqlalchemy import make_url  # noqa: PLC0415  # takes a fifth of a second to import

    return make_url(f"{_FILE}%25").database == "%"
