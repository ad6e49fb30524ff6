"""Backfills a store: writes what the log of a sweep holds and the store lacks."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pipeline.address import absolute, redact, sqlite_file, unreachable
from pipeline.errors import RecordError
from pipeline.record.artifacts import read_tag
from pipeline.record.log import DamagedError, Log
from pipeline.record.protocol import Opened
from pipeline.record.runs import Runs
from pipeline.results.summary import SWEPT
from pipeline.tracking.connection import WRITE_VARIABLES, answering, children, connect, http_variables, lacks_tables
from pipeline.tracking.relocation import LOG_TAG
from pipeline.tracking.sqlite_store import open_store
from pipeline.tracking.store import ENTRIES_TAG, RUN_TAG, Store

T = TypeVar("T")

TRIES, PAUSE = 3, 1.0
"""The attempts at each write of a backfill, and the seconds between two of them."""

_ENTRIES_PER_WRITE = 1000
"""Entries that are written in one transaction."""

_MOST_EXPERIMENTS = 50_000
"""The most experiments that MLflow returns at once."""

_DELETED_TOO = 3
"""MLflow's `ViewType.ALL`, which takes seconds to import."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfilled:
    """The number of entries that the store lacked, the command that opens the record, and a sentence for each loss."""

    entries: int
    look: str
    lost: tuple[str, ...]


def backfill(path: Path, uri: str | None) -> Backfilled:
    """Write what the log at ``path`` holds and the store lacks to the store at ``uri``, by default the sweep's own.

    A store that lacks the whole sweep, which was deleted or is another one, gets all of it.
    The sweep's own store is that of its last resume: a sweep that was resumed in a copy of its folder has the copy's.

    Raises
    ------
    RecordError
        If the log cannot be read, the folder of the sweep's own store is gone, its sweep is still running or was
        resumed with another log, or the store does not answer. It may be called again.
    """
    path = path.absolute()
    uri = absolute(_address(path) if uri is None else uri)
    with contextlib.closing(Log.open(path)) as log, http_variables(uri, WRITE_VARIABLES):
        entries = _entries(log, uri)
        began, opened = next(entries, (0, None))
        if not isinstance(opened, Opened):
            raise RecordError(f"the log must begin with how its record was opened, got {path}")
        experiment, parent = _find_parent(uri, opened, path)
        store = open_store(uri, experiment)
        runs, lost = Runs(opened, store.experiment_id), list[str]()
        _retried(store, store.load_ids, runs.prefix)
        stored = _take_up(store, runs, parent, path, began)

        if stored:
            runs.outbox.discard()
        try:
            for now, entry in entries:
                runs.apply(entry, now)
                if log.entries <= stored:
                    runs.outbox.discard()
                elif log.entries % _ENTRIES_PER_WRITE == 0:
                    lost += _write(store, runs, log.entries)
        except DamagedError as error:
            lost.append(f"the log is damaged, and what follows is lost: {error}")
        lost += _write(store, runs, max(log.entries, stored))
        if not runs.closed:
            lost.append("the log has no end: its sweep was killed, or the file was cut short")
        is_running = partial(_retried, store, store.is_running)
        names = runs.abandon(is_running, time.time_ns() // 1_000_000, "the log does not hold its end")
        lost += _write(store, runs, max(log.entries, stored))
        lost += [f"the run {store.with_ids(name)} is ended as KILLED, its end is lost" for name in names]
        lost += [f"the run {run} is missing: it ended before this log began" for run in _missing(store, runs)]
        _retried(store, store.delete_duplicates)
        written = max(0, log.entries - stored)
        return Backfilled(entries=written, look=store.how_to_look(runs), lost=tuple(lost))


def _entries(log: Log, uri: str) -> Iterator[tuple[int, Any]]:
    """Yield the entries of a log as of a record in the store at ``uri``."""
    for now, entry in log.read():
        yield now, dataclasses.replace(entry, uri=redact(uri)) if isinstance(entry, Opened) else entry


def _missing(store: Store, runs: Runs) -> list[str]:
    """Return the runs that ended before the log began and are not in the store."""
    older = sorted(name for name in runs.names if not name.startswith(runs.prefix))
    if not older:
        return []
    found = _retried(store, lambda: list(children(store.client, store.experiment_id, store.ids[runs.opened.parent])))
    return [name for name in older if name not in {run.info.run_id for run in found}]


def _address(path: Path) -> str:
    """Return the address of the store by which the sweep of a log was opened or resumed last."""
    uri = ""
    # Of a damaged log what follows is lost, a later address too.
    with contextlib.closing(Log.open(path)) as log, contextlib.suppress(DamagedError):
        for _, entry in log.read():
            uri = entry.uri if isinstance(entry, Opened) else uri
    if "***" in uri:
        raise RecordError(f"--tracking-uri must be given: a log holds no password, its store was {uri}")
    file = sqlite_file(uri)
    if file is not None and not file.parent.is_dir():  # a deleted store is made again, but not where nobody looks
        raise RecordError(f"--tracking-uri must be given: the store was in {file.parent}, which is no more")
    return uri


def _find_parent(uri: str, opened: Opened, path: Path) -> tuple[str, Any]:
    """Return the experiment of a log, and the parent run in the store: None where that lacks it, or for a lone trial.

    Raises
    ------
    RecordError
        If the run is deleted, or the sweep was resumed with another log.
    """
    client = connect(uri, create=True)
    if not opened.parent:
        return opened.experiment, None
    with answering(uri):
        # The experiment may have been renamed.
        names = {one.experiment_id: one.name for one in client.search_experiments(max_results=_MOST_EXPERIMENTS)}
        found = client.search_runs(list(names), f"tags.`{RUN_TAG}` = '{opened.parent}'", _DELETED_TOO)
    if not found:
        return opened.experiment, None
    info = found[0].info
    if info.lifecycle_stage != "active":
        raise RecordError(f"the sweep's run must not be deleted (the UI restores it), got {info.run_id!r}")
    log = found[0].data.tags.get(LOG_TAG, path)
    if Path(log).name != path.name:
        raise RecordError(
            f"the sweep {info.run_id} must not have been resumed with another log: it has been, with {log}, so "
            "its trials were computed again, and this log is obsolete"
        )
    return names[info.experiment_id], found[0]


def _take_up(store: Store, runs: Runs, parent: Any, path: Path, began: int) -> int:
    """Take up the ``parent`` run of a sweep, or begin it; return how many entries of the log the store has."""
    if parent is not None:
        assert runs.parent is not None, "only a sweep has a parent run"
        runs.parent.has_params = SWEPT in parent.data.tags
        run_id = store.ids[runs.opened.parent] = parent.info.run_id
        return read_tag(run_id, {ENTRIES_TAG: "0", **parent.data.tags}, ENTRIES_TAG, int)
    if runs.parent is not None:
        with answering(store.uri):  # not retried: a request without an answer may have created it
            store.begin(runs.parent, path, began)
    return 0


def _write(store: Store, runs: Runs, entries: int) -> list[str]:
    """Write the pending changes, with which the store has so many entries of the log; return what it has refused."""
    refused = _retried(store, store.apply, runs.outbox.drain(entries))
    return [f"the store refused a write: {redact(str(error))}" for error in refused]


def _retried(store: Store, action: Callable[..., T], *arguments: object) -> T:
    """Call ``action``, and retry it if the store does not answer."""
    for number in range(TRIES):
        try:
            return action(*arguments)
        except Exception as error:
            if number == TRIES - 1 or lacks_tables(error):
                raise unreachable(store.uri, error) from error
        time.sleep(PAUSE)
    raise AssertionError
