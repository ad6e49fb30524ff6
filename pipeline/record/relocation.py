"""An SQLite store whose folder was moved or copied: the paths recorded in it follow the artifacts beside it."""

from __future__ import annotations

import contextlib
import logging
import re
import sqlite3
import urllib.parse
from pathlib import Path

from pipeline.address import absolute
from pipeline.record.protocol import CHECKPOINTS, FOLDER

LOG_TAG = "log"
"""The tag of a sweep's parent run that says where its log is."""

PLACE_TAGS = (CHECKPOINTS, FOLDER, LOG_TAG)
"""The tags of runs that hold the path of a folder or a file."""

_PATHS = (("runs", "artifact_uri"), ("logged_models", "artifact_location"), ("model_versions", "storage_location"))
"""Where MLflow keeps the address of artifacts, beside that of each experiment."""

_log = logging.getLogger(__name__)


def artifact_folder(store: Path, experiment: str) -> Path:
    """Return where the artifacts of an experiment are kept: beside the file of its store, so that both move together.

    MLflow's default is a folder where the command happens to run. Its name is made of letters, digits and dashes:
    MLflow would read %2F..%2F as a way out of mlruns.
    """
    return store.parent / "mlruns" / re.sub(r"[^\w-]+", "-", experiment)[:60]


def relocate(store: Path) -> None:
    """Set the paths in a store right whose artifacts are beside it, and are recorded to be elsewhere.

    A store that may not be written to is left as it is.
    """
    with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(sqlite3.connect(store)) as connection:
        experiments = connection.execute("SELECT experiment_id, name, artifact_location FROM experiments").fetchall()
        for number, name, location in experiments:
            here, there = artifact_folder(store, str(name)), _path(str(location))
            runs = connection.execute("SELECT run_uuid FROM runs WHERE experiment_id = ?", (number,))
            if _is_moved(here, there, {str(run) for (run,) in runs}):
                with connection:
                    _move(connection, number, str(location), here)
                    _move_places(connection, number, there.parents[1] / store.name, store)
                _log.warning("%s was moved from %s, and its artifacts with it", store, there.parents[1])


def _path(location: str) -> Path:
    """Return the folder of an address as MLflow reads it."""
    return Path(urllib.parse.unquote(urllib.parse.urlsplit(location).path if location[:5] == "file:" else location))


def _is_moved(here: Path, there: Path, runs: set[str]) -> bool:
    """Return whether artifacts recorded to be ``there`` are ``here``, or would be if there were any."""
    if there.parts[-2:] != here.parts[-2:] or there.resolve() == here.resolve():
        return False
    copied = here.is_dir() and not runs.isdisjoint(path.name for path in here.iterdir())
    return copied or not there.exists()


def _move(connection: sqlite3.Connection, experiment: int, old: str, new: Path) -> None:
    """Replace what the addresses of an experiment's artifacts begin with."""
    connection.execute(
        "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (new.as_uri(), experiment)
    )
    for table, column in _PATHS:
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",  # noqa: S608  # no user's text
            (new.as_uri(), len(old) + 1, len(old) + 1, f"{old}/"),
        )


def _move_places(connection: sqlite3.Connection, experiment: int, old: Path, new: Path) -> None:
    """Replace the store's old folder in the tags of an experiment's runs, and its address in their descriptions."""
    of_experiment = "run_uuid IN (SELECT run_uuid FROM runs WHERE experiment_id = ?)"
    before, after = str(old.parent), str(new.parent)
    connection.execute(
        f"UPDATE tags SET value = ? || substr(value, ?) WHERE key IN (?, ?, ?) AND {of_experiment} "  # noqa: S608  # no user's text
        "AND (value = ? OR substr(value, 1, ?) = ?)",
        (after, len(before) + 1, *PLACE_TAGS, experiment, before, len(before) + 1, f"{before}/"),
    )
    uris = (absolute(f"sqlite:///{old}"), absolute(f"sqlite:///{new}"))
    connection.execute(
        f"UPDATE tags SET value = replace(value, ?, ?) WHERE key = 'mlflow.note.content' AND {of_experiment}",  # noqa: S608  # no user's text
        (*uris, experiment),
    )
