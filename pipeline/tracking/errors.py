"""Tells which errors of a store are permanent, and which may pass."""

from __future__ import annotations

import re
from collections.abc import Callable

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

# MLflow answers BAD_REQUEST to each error of its database that is not an OperationalError: also where the server has no
# connection left, or one of its own is closed since the database was started again.
_CONNECTION_LOST = re.compile(
    r"QueuePool limit of size|Can't reconnect until invalid transaction"
    r"|\((?:psycopg2?|pymysql\.err|MySQLdb\._exceptions)\.InterfaceError\)"
)

# SQLAlchemy raises OperationalError for a missing table or column, but also for a database that cannot be reached.
_MISSING_TABLE = re.compile(r"OperationalError\) \(?(?:no such (?:table|column)|table \S+ has no column|1054\b)")


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
    """Write, and return the error if the store refuses that for good; any other is raised.

    It is returned without its frames and its causes, which would keep what was to be written in memory.
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
