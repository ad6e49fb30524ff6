"""Whether a database has the tables of the installed MLflow, which would change those of an older one unasked."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.address import absolute, redact
from pipeline.errors import RecordError

Query = Callable[[str], Sequence[Any] | None]
"""Runs a statement in a database and returns its first row, None where there is none."""

_SCRIPTS = "store/db_migrations/versions"
_REVISION = re.compile(r"^(down_)?revision\s*(?::[^=\n]*)?=\s*[\"'](\w+)[\"']", re.MULTILINE)


def check_revision(uri: str, query: Query) -> None:
    """Raise a `RecordError` where the database at ``uri`` holds runs in tables of another version of MLflow.

    One that holds none has been left half made, or is new: MLflow may finish it.
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


def revisions() -> tuple[frozenset[str], str | None]:
    """Return the revisions that the installed MLflow knows, and the last of them, None where it cannot be told.

    They are read without MLflow, whose import takes seconds.
    """
    spec = importlib.util.find_spec("mlflow")
    places = (spec.submodule_search_locations if spec else None) or []
    made: set[str] = set()
    left: set[str] = set()
    for place in places:
        for script in Path(place, _SCRIPTS).glob("*.py"):
            for down, revision in _REVISION.findall(script.read_text(encoding="utf-8")):
                (left if down else made).add(revision)
    heads = made - left
    return frozenset(made), heads.pop() if len(heads) == 1 else None
