"""Backfilling: a journal is written to its store, and no run of it is left that nobody will end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.address import absolute, how_to_look, is_http, redact, unreachable
from pipeline.errors import RecordError
from pipeline.record.journal import JOURNALS, Head, Journal
from pipeline.record.protocol import Past
from pipeline.record.record_file import DamagedError
from pipeline.record.resumption import RESUMED
from pipeline.record.scribe import Scribe, is_refusal, lacks_tables
from pipeline.record.sqlite_store import open_store
from pipeline.record.store import WRITING, connect, settings
from pipeline.record.writes import CreateRun, EndRun, Write

T = TypeVar("T")

TRIES = 3
PAUSE = 1.0
"""Seconds between two tries."""

_KILLED = {"outcome": "killed", "outcome.message": "the journal does not hold its end"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfilled:
    """How many writes are done, how to look at them, and in a sentence each what is lost."""

    writes: int
    look: str
    losses: tuple[str, ...]


def backfill(path: Path, uri: str | None) -> Backfilled:
    """Write the journal at ``path`` to the store at ``uri``, by default that of its sweep, and remove it.

    What the store holds already is not written twice. A journal of which something is lost is kept.

    Raises
    ------
    RecordError
        If the journal cannot be read, its sweep is still running or has been resumed, or the store does not
        answer: then the journal is kept, and the same can be tried again.
    """
    journal, head = Journal.open(path)
    try:
        uri = absolute(uri or _without_secrets(head))
        with settings(WRITING if is_http(uri) else {}):
            _check(uri, head)
            filling = _Filling(uri, head)
            filling.write(journal)
        if not filling.losses:
            journal.remove()
    finally:
        journal.close()
    return Backfilled(writes=filling.done, look=filling.look(), losses=tuple(filling.losses))


def journals_of(folder: Path, past: Past) -> list[Path]:
    """Return the journals in ``folder`` that hold what the record of a sweep lacks, the oldest first."""
    return [path for path in sorted(folder.glob(JOURNALS)) if _belongs(path, past)]


def _belongs(path: Path, past: Past) -> bool:
    try:
        journal, head = Journal.open(path)
    except RecordError:
        return False  # damaged from its head on, or another's
    journal.close()
    return head.parent == past.run_id and head.resumed == past.tags.get(RESUMED, "0")


def _without_secrets(head: Head) -> str:
    if "***" in head.uri:
        raise RecordError(f"--tracking-uri must be given: a journal holds no password, its store was {head.uri}")
    return head.uri


def _check(uri: str, head: Head) -> None:
    """Raise a `RecordError` where the store is not that of the sweep, or the sweep has gone on since."""
    client = connect(uri, create=False)
    if not head.parent:
        return
    try:
        tags = client.get_run(head.parent).data.tags
    except Exception as error:
        if not is_refusal(error):
            raise unreachable(uri, error) from error
        raise RecordError(
            f"--tracking-uri must be the store of the sweep {head.parent}, got {redact(uri)}: {error}"
        ) from None
    if tags.get(RESUMED, "0") != head.resumed:
        raise RecordError(
            f"the sweep {head.parent} must not have been resumed since the journal was written: it has been, so its "
            "trials were computed again, and the journal is of no use any more"
        )


class _Filling:
    """Writes one journal to one store."""

    def __init__(self, uri: str, head: Head) -> None:
        self.losses: list[str] = []
        self.done = 0
        self._uri, self._head = uri, head
        self._store = open_store(uri, head.experiment)
        self._scribe = Scribe(self._store)
        self._touched: dict[str, bool] = {}  # by run, whether its end was written

    def write(self, journal: Journal) -> None:
        """Write what can be read."""
        try:
            while writes := journal.peek():
                journal.advance(self._write(writes))
            if not journal.complete:
                self.losses.append("the journal has no end: its sweep was killed, or the file was cut short")
        except DamagedError as error:
            self.losses.append(f"the journal is damaged, and what follows is lost: {error}")
        if not journal.complete:
            self._end_open()
        self._patiently(self._scribe.settle)

    def look(self) -> str:
        """Return how the record is opened."""
        lone = None if self._head.parent else next(map(self._scribe.id_of, self._touched), None)
        return how_to_look(self._uri, self._store.experiment_id, sweep=self._head.parent or None, run=lone)

    def _write(self, writes: Sequence[Write]) -> int:
        first = writes[0]
        if isinstance(first, CreateRun):
            self._scribe.doubt(first.run)
        try:
            count = self._patiently(lambda: self._scribe.do(writes))
        except RecordError:
            raise
        except Exception as error:  # noqa: BLE001  # the store will never take it, and the others count
            self.losses.append(f"the store does not take {type(first).__name__} of {first.run}: {redact(str(error))}")
            return 1
        for write in writes[:count]:
            self._touched[write.run] = isinstance(write, EndRun) or self._touched.get(write.run, False)
        self.done += count
        return count

    def _end_open(self) -> None:
        """End the runs that nobody will end."""
        open_ = [id_ for run, ended in self._touched.items() if not ended and (id_ := self._scribe.id_of(run))]
        if self._head.parent:
            open_ += [*self._patiently(lambda: self._store.running(self._head.parent)), self._head.parent]
        for run_id in dict.fromkeys(open_):
            self._patiently(lambda run_id=run_id: self._end(run_id))  # type: ignore[misc]

    def _end(self, run_id: str) -> None:
        run = self._store.client.get_run(run_id)
        if run.info.status == "RUNNING":
            if run_id != self._head.parent:
                self._store.tag(run_id, _KILLED)
            self._store.end_run(run_id, "KILLED", time.time_ns() // 1_000_000)
            self.losses.append(f"the run {run.info.run_name} ({run_id}) is ended as KILLED, its end is lost")

    def _patiently(self, do: Callable[[], T]) -> T:
        """Do something with the store, again where it does not answer, and let what it refuses out."""
        for number in range(TRIES):
            try:
                return do()
            except Exception as error:
                if is_refusal(error):
                    raise
                if number == TRIES - 1 or lacks_tables(error):
                    raise unreachable(self._uri, error) from error
            time.sleep(PAUSE)
        raise AssertionError
