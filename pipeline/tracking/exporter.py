"""The exporter: a thread that writes to the store what the log has and the store lacks, and retries."""

from __future__ import annotations

import logging
import shlex
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.errors import RecordError
from pipeline.record.outbox import Change
from pipeline.results.fault_log import FaultLog, Quiet, brief
from pipeline.tracking.connection import is_refusal, lacks_tables, refusals
from pipeline.tracking.store import Store

EXPORT_EVERY = 1.0
"""Seconds between two transactions."""

RETRY_AFTER, LONGEST_PAUSE = 1.0, 10.0
"""Seconds until a store that has failed is retried: the first, and the last of the exponential backoff."""

PATIENCE, HURRY = 180.0, 15.0
"""Seconds that a store may be silent at the end of a sweep (a server that restarts takes a minute), and of one that was
stopped; the rest is left to a backfill."""

_GRACE = 5.0

_log = logging.getLogger(__name__)


class Exporter:
    """Writes the changes that ``next_changes`` returns to a store, and retries them until they are written.

    An outage is reported in a line, and in full in ``faults``. Once ``hurry`` is set, `close` gives up a store that
    does not answer; one that answers still gets the rest. A backfill can write the rest from what ``log_file`` returns,
    None if it holds too little. ``refused`` are the errors of the writes that the store refuses for good.
    """

    def __init__(
        self,
        store: Store,
        log_file: Callable[[], Path | None],
        next_changes: Callable[[], Mapping[str, Change]],
        faults: FaultLog,
        hurry: threading.Event,
    ) -> None:
        self.refused: list[Exception] = []
        self._store, self._log_file, self._faults, self._hurry = store, log_file, faults, hurry
        self._next_changes = next_changes
        self._failure: Exception | None = None
        self._outage_began = 0.0
        self._pause = RETRY_AFTER
        self._due, self._closing, self._ended = threading.Event(), threading.Event(), threading.Event()
        threading.Thread(target=self._work, name="exporter", daemon=True).start()

    def flush(self) -> None:
        """Request the next write without delay."""
        self._due.set()

    def close(self, *, stopped: bool = False) -> str:
        """Write the rest, and return why some of it could not be written, or an empty text.

        ``stopped`` says that the sweep was stopped and somebody waits for its end: the store has less time to answer.
        """
        self._store.answered = began = time.monotonic()  # patience begins now
        self._closing.set()
        self._due.set()
        patience, warned = HURRY if stopped else PATIENCE, False
        while not self._ended.wait(min(RETRY_AFTER, 0.5)):
            now = time.monotonic()
            silent = now - self._store.answered
            if silent > patience or (self._hurry.is_set() and (self._failure or silent > _GRACE)):
                break
            if not warned and (self._failure or now > began + _GRACE):
                warned = True
                command = f"python -m pipeline.backfill {shlex.quote(str(path))}" if (path := self._log_file()) else ""
                then = f"; this command then writes what is missing: {command}" if command else ""
                _log.warning("waiting for the store, at most %.0f s (Ctrl-C stops waiting)%s", patience, then)
        done, failure = self._ended.is_set(), self._failure
        self._store.given_up.set()
        if done and failure is None:
            return ""
        self._ended.wait(RETRY_AFTER)
        return brief(failure) if failure else f"no answer for {silent:.0f} s"

    def _work(self) -> None:
        try:
            with Quiet(self._faults):
                while self._export():
                    pass
                if self._failure is None:
                    self.refused += refusals(self._store.delete_duplicates)
        except Exception as error:  # noqa: BLE001  # whatever a store raises must not end the sweep
            self._faults.write("nothing more is written to the store", "".join(traceback.format_exception(error)))
            _log.error("nothing more is written to the store, and training goes on: %s", brief(error))
            self._failure = error
        finally:
            self._ended.set()

    def _export(self) -> bool:
        """Write the next changes, if there are any; return whether more may follow."""
        if not self._closing.is_set():
            self._due.wait(EXPORT_EVERY)
        self._due.clear()
        closing = self._closing.is_set()
        changes = self._next_changes()
        while changes and not self._try(changes):
            if self._closing.is_set():
                self._store.given_up.wait(RETRY_AFTER)
            else:
                self._closing.wait(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            if self._store.given_up.is_set():
                return False  # the log holds the rest, for a resume or a backfill
        return bool(changes) or not closing

    def _try(self, changes: Mapping[str, Change]) -> bool:
        """Try to write changes; return whether they are written."""
        try:
            self.refused += self._store.apply(changes)
        except Exception as error:
            if lacks_tables(error):
                raise RecordError(f"its tables are not those of MLflow: {brief(error)}") from error
            if is_refusal(error):
                raise
            self._on_failure(error)
            return False
        away = self._failure is not None
        self._failure, self._pause = None, RETRY_AFTER
        self._store.answered = time.monotonic()
        if away:
            message = f"the store answers again after {time.monotonic() - self._outage_began:.0f} s, and has everything"
            self._faults.write(message)
            _log.warning("%s", message)
        return True

    def _on_failure(self, error: Exception) -> None:
        if self._failure is None:
            self._outage_began = time.monotonic()
            logged = self._faults.write("the store does not answer", "".join(traceback.format_exception(error)))
            where = f" (in full: {self._faults.path})" if logged else ""
            _log.warning("the store does not answer, and training goes on: %s%s", brief(error), where)
        elif brief(error) != brief(self._failure):
            self._faults.write(f"still not: {brief(error)}")
        self._failure = error
