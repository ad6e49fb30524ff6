"""Backfilling: writes what a log holds and its store lacks, and ends the runs that no process will end."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from pipeline.address import absolute, redact, unreachable
from pipeline.errors import RecordError
from pipeline.record.log import DamagedError, Log
from pipeline.record.protocol import Opened, Resumed
from pipeline.record.runs import Runs
from pipeline.tracking.connection import WRITE_VARIABLES, connect, http_variables, is_refusal, lacks_tables
from pipeline.tracking.relocation import LOG_TAG
from pipeline.tracking.sqlite_store import open_store
from pipeline.tracking.store import ENTRIES_TAG, Store

T = TypeVar("T")

TRIES = 3
PAUSE = 1.0
"""Seconds between two attempts."""

_ENTRIES_PER_WRITE = 1000
"""Entries that are written in one transaction."""

_WITHOUT_END = "the log does not hold its end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfilled:
    """The number of entries that the store lacked, the command that opens the record, and a sentence for each loss."""

    entries: int
    look: str
    lost: tuple[str, ...]


def backfill(path: Path, uri: str | None, *, pause: float = PAUSE) -> Backfilled:
    """Write what the log at ``path`` holds and the store lacks to the store at ``uri``, by default the sweep's own.

    Its own is the one by which the sweep was resumed last: a folder that was copied has another one than its original.
    A store that does not answer is retried after ``pause`` seconds.

    Raises
    ------
    RecordError
        If the log cannot be read, its sweep is still running or was resumed with another log, or the store does not
        answer. It may be called again.
    """
    uri = uri or _address(path)
    log = Log.open(path)
    try:
        entries = log.read()
        _, opened = next(entries, (0, None))
        if not isinstance(opened, Opened):
            raise RecordError(f"the log must begin with how its record was opened, got {path}")
        uri = absolute(uri)
        with http_variables(uri, WRITE_VARIABLES):
            tags, experiment = _parent(uri, opened, path)
            opened = dataclasses.replace(opened, experiment=experiment)
            backfilling = _Backfill(uri, opened, int(tags.get(ENTRIES_TAG, "0")), pause)
            try:
                for now, entry in entries:
                    backfilling.apply(entry, now, log.entries)
            except DamagedError as error:
                backfilling.lost.append(f"the log is damaged, and what follows is lost: {error}")
            backfilling.close(log.entries)
    finally:
        log.close()
    return Backfilled(entries=backfilling.done, look=backfilling.look(), lost=tuple(backfilling.lost))


def _address(path: Path) -> str:
    """Return the address of the store by which the sweep of a log was opened or resumed last."""
    log, uri = Log.open(path), ""
    try:
        with contextlib.suppress(DamagedError):  # what follows is lost, a later address too
            for _, entry in log.read():
                uri = entry.uri if isinstance(entry, Opened | Resumed) else uri
    finally:
        log.close()
    if "***" in uri:
        raise RecordError(f"--tracking-uri must be given: a log holds no password, its store was {uri}")
    return uri


def _parent(uri: str, opened: Opened, path: Path) -> tuple[Mapping[str, str], str]:
    """Return the tags of the parent run, and its experiment, which may have been renamed.

    Raises
    ------
    RecordError
        If the store lacks the run, or the sweep was resumed with another log.
    """
    client = connect(uri, create=False)
    if not opened.parent:
        return {}, opened.experiment
    try:
        run = client.get_run(opened.parent)
        experiment = str(client.get_experiment(run.info.experiment_id).name)
    except Exception as error:
        if not is_refusal(error):
            raise unreachable(uri, error) from error
        raise RecordError(
            f"--tracking-uri must be the store of the sweep {opened.parent}, got {redact(uri)}: {error}"
        ) from None
    tags = dict(run.data.tags)
    log = tags.get(LOG_TAG, path)
    if Path(log).name != path.name:
        raise RecordError(
            f"the sweep {opened.parent} must not have been resumed with another log: it has been, with {log}, so "
            "its trials were computed again, and this log is obsolete"
        )
    return tags, experiment


class _Backfill:
    """Writes one log to one store, which has the first ``stored`` entries."""

    def __init__(self, uri: str, opened: Opened, stored: int, pause: float) -> None:
        self.lost: list[str] = []
        self.done = 0
        self._uri, self._stored, self._pause = uri, stored, pause
        self._store: Store = open_store(uri, opened.experiment)
        self._runs = Runs(opened, self._store.experiment_id)
        if opened.parent:
            self._retry(lambda: self._store.load_ids(opened.parent))
        self._write_if_due(1)

    def apply(self, entry: object, now: int, number: int) -> None:
        """Apply the ``number``-th entry."""
        self._runs.apply(entry, now)
        self._write_if_due(number)

    def close(self, entries: int) -> None:
        """Write the rest, and end the runs that no process will end."""
        if entries > self._stored:
            self._write(entries)
        if not self._runs.closed:
            self.lost.append("the log has no end: its sweep was killed, or the file was cut short")
            running = [run for run in self._runs.unended() if self._retry(partial(self._store.is_running, run))]
            names = self._runs.abandon(running, time.time_ns() // 1_000_000, _WITHOUT_END)
            self._write(max(entries, self._stored))
            self.lost += [f"the run {self._store.with_ids(name)} is ended as KILLED, its end is lost" for name in names]
        self._retry(self._store.delete_duplicates)

    def look(self) -> str:
        """Return the command that opens the record."""
        return self._store.how_to_look(self._runs)

    def _write_if_due(self, number: int) -> None:
        if number <= self._stored:
            self._runs.outbox.discard()
            return
        self.done += 1
        if number % _ENTRIES_PER_WRITE == 0:
            self._write(number)

    def _write(self, entries: int) -> None:
        changes, root = self._runs.outbox.drain(), self._runs.root
        if not self._runs.opened.parent and root is not None and root not in self._store.ids:
            self._retry(lambda: self._store.find(root))
        refused = self._retry(lambda: self._store.apply(changes, root, entries)) if changes else []
        self.lost += [f"the store refused a write: {redact(str(error))}" for error in refused]

    def _retry(self, action: Callable[[], T]) -> T:
        """Call ``action``, and retry it if the store does not answer."""
        for number in range(TRIES):
            try:
                return action()
            except Exception as error:
                if number == TRIES - 1 or lacks_tables(error):
                    raise unreachable(self._uri, error) from error
            time.sleep(self._pause)
        raise AssertionError
