"""Updates the paths in an SQLite store whose folder was moved or copied together with the artifacts beside it."""

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
"""The tag of a sweep's parent run that holds the path of its log."""

PLACE_TAGS = (CHECKPOINTS, FOLDER, LOG_TAG)
"""The tags of runs that hold the path of a folder or a file."""

_PATHS = (("runs", "artifact_uri"), ("logged_models", "artifact_location"), ("model_versions", "storage_location"))
"""The tables and columns of MLflow that hold addresses of artifacts, other than those of experiments."""

_log = logging.getLogger(__name__)


def artifact_folder(store: Path, experiment: str) -> Path:
    """Return the folder of an experiment's artifacts: beside the file of its store, so that both move together.

    MLflow's default would be in the working folder. The name has only letters, digits, _ and dashes: MLflow would
    decode %2F..%2F to a path that leaves mlruns.
    """
    return store.parent / "mlruns" / re.sub(r"[^\w-]+", "-", experiment)[:60]


def folder_of(location: str) -> Path:
    """Return the folder of an address, as MLflow decodes it; of a bucket or a server, a path that is not absolute."""
    return Path(urllib.parse.unquote(urllib.parse.urlsplit(location).path if location[:5] == "file:" else location))


def relocate(store: Path) -> None:
    """Update the paths in a store whose artifacts are beside it, but recorded elsewhere.

    A read-only store stays as it is, and a line says so: its artifacts are looked for where they were.
    """
    with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(sqlite3.connect(store)) as connection:
        experiments = connection.execute("SELECT experiment_id, name, artifact_location FROM experiments").fetchall()
        for number, name, location in experiments:
            ours, recorded = artifact_folder(store, str(name)), folder_of(str(location))
            current = ours.with_name(recorded.name or ours.name)  # an experiment that was renamed keeps its folder
            runs = connection.execute("SELECT run_uuid FROM runs WHERE experiment_id = ?", (number,))
            if _is_moved(current, recorded, {str(run) for (run,) in runs}, named=current == ours):
                moved = f"{store} was moved from {recorded.parents[1]}"
                try:
                    with connection:
                        _move(connection, number, str(location), current)
                        _move_places(connection, number, recorded.parents[1] / store.name, store)
                except sqlite3.OperationalError as error:
                    _log.warning(
                        "%s, but is not updated, so its artifacts are looked for where they were: %s", moved, error
                    )
                    return
                _log.warning("%s, and its artifacts with it", moved)


def _is_moved(current: Path, recorded: Path, runs: set[str], *, named: bool) -> bool:
    """Return whether the ``current`` folder has the artifacts of these runs, or the ``recorded`` one is gone.

    A missing folder counts only if it is ``named`` after its experiment, as only ours are. Artifacts in a bucket or on
    a server are not beside the store.
    """
    alike = recorded.is_absolute() and recorded.parts[-2:] == current.parts[-2:]
    if not alike or recorded.resolve() == current.resolve():
        return False
    copied = current.is_dir() and not runs.isdisjoint(path.name for path in current.iterdir())
    return copied or (named and not recorded.exists())


def _move(connection: sqlite3.Connection, experiment: int, old: str, new: Path) -> None:
    """Replace the prefix of the addresses of an experiment's artifacts."""
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
