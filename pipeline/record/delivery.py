"""The delivery: a thread that writes to the store in order, and a journal for what the store keeps waiting."""

from __future__ import annotations

import contextlib
import itertools
import logging
import shlex
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.errors import RecordError
from pipeline.record.journal import AT_ONCE, Journal
from pipeline.record.quiet import Quiet
from pipeline.record.scribe import Scribe, is_refusal, lacks_tables
from pipeline.record.writes import Write
from pipeline.results.fault_log import FaultLog, brief

JOURNAL_AFTER = 5.0
"""Seconds that a write may wait in memory."""

RETRY_SECONDS = 1.0
"""Seconds until a store that did not answer is tried again, at first; each time twice as many."""

LONGEST_PAUSE = 10.0
"""The most seconds between two tries."""

PATIENCE = 180.0
"""Seconds after which a closing delivery leaves the rest to its journal: a server that starts again takes a minute."""

HURRY = 15.0
"""The same, if somebody has stopped the sweep, and so waits for its end."""

_QUIETLY = 5.0

_log = logging.getLogger(__name__)


class Delivery:
    """Hands writes to a scribe, each until it is done or refused.

    ``make_journal`` makes the journal, which is there only while something waits for long; it bounds what is
    held in memory, as long as it can be written. What happens is told in a line, and in full in ``log``.
    Once ``hurry`` is set, `close` waits no longer for a store that does not answer; one that does still gets the rest.
    ``refused`` are the errors of the writes that the store will never take, ``busy`` is the CPU time of the thread
    in seconds.
    """

    def __init__(
        self, scribe: Scribe, make_journal: Callable[[], Journal], log: FaultLog, hurry: threading.Event
    ) -> None:
        self.refused: list[Exception] = []
        self.busy = 0.0
        self._scribe = scribe
        self._make_journal = make_journal
        self._waiting: deque[tuple[float, Write]] = deque()  # after what is in the journal
        self._journal: Journal | None = None
        self._failure: Exception | None = None
        self._log = log
        self._began_away: float | None = None
        self._hurry = hurry
        self._unwritable: OSError | None = None
        self._succeeded = time.monotonic()
        self._pause = RETRY_SECONDS
        self._closing = self._closed = self._ended = False
        self._changed = threading.Condition()
        threading.Thread(target=self._work, name="delivery", daemon=True).start()

    def post(self, writes: Sequence[Write]) -> None:
        """Take over writes; what has waited for long goes into the journal before this returns."""
        with self._changed:
            now = time.monotonic()
            self._waiting.extend((now, write) for write in writes)
            if self._unwritable is None:
                self._keep(now)
            self._changed.notify_all()

    def close(self, *, stopped: bool = False) -> tuple[Path | None, str]:
        """Wait for the store as long as it takes writes, and say what is left: the journal, and why.

        ``stopped`` says that the sweep was, so that its end is waited for.
        The path is None where the journal holds not all of it; without a reason nothing is left.
        """
        with self._changed:
            self._succeeded = time.monotonic()
            self._closing = True
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._ended or self._is_empty(), JOURNAL_AFTER)
            finally:
                # Whoever stops the process now finds the rest in the journal.
                if not self._is_empty():
                    self._keep(float("inf"))
                    self._finish_journal()
            self._wait(HURRY if stopped else PATIENCE)
            self._closed = True
            self._changed.notify_all()
            if self._is_empty():
                self._settle()
                return None, ""
            kept = self._journal.path if self._journal is not None and not self._waiting else None
            if self._journal is not None:
                self._journal.close()
        silent = time.monotonic() - self._succeeded
        reason = brief(self._failure) if self._failure else f"no answer for {silent:.0f} s"
        if kept is None:
            reason += f"; and the journal cannot be written: {self._unwritable}"
        return kept, reason

    def _wait(self, patience: float) -> None:
        began, told = time.monotonic(), False
        while not self._is_empty() and not self._ended:
            now = time.monotonic()
            silent = now - self._succeeded
            if silent > patience or (self._hurry.is_set() and (self._failure or silent > _QUIETLY)):
                break
            if not told and self._journal is not None and (self._failure or now > began + _QUIETLY):
                told = True
                _log.warning(
                    "the store is waited for, %.0f s at most (Ctrl-C: no longer); what it lacks then is written by: "
                    "python -m pipeline.backfill %s",
                    patience,
                    shlex.quote(str(self._journal.path)),
                )
            self._changed.wait(RETRY_SECONDS)

    def _settle(self) -> None:
        try:
            with Quiet(self._log):
                self._scribe.settle()
        except Exception as error:  # noqa: BLE001  # whatever a store raises must not end the sweep
            self.refused.append(error)

    def _work(self) -> None:
        try:
            with Quiet(self._log):
                while writes := self._next():
                    began = time.thread_time()
                    done, error = self._try(writes)
                    self.busy += time.thread_time() - began
                    self._account(done, error)
        except (RecordError, OSError) as error:
            # The journal keeps what it can, and backfilling will tell what is lost where it cannot be read back.
            self._end(error)

    def _end(self, error: Exception) -> None:
        self._log.write("nothing more is written to the store", "".join(traceback.format_exception(error)))
        _log.error("nothing more is written to the store, and training goes on: %s", brief(error))
        with self._changed:
            self._failure, self._ended = error, True
            self._changed.notify_all()

    def _next(self) -> list[Write]:
        """Return what is to be written next, as soon as there is something; nothing once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._is_empty())
            return [] if self._closed else self._peek()

    def _try(self, writes: Sequence[Write]) -> tuple[int, Exception | None]:
        try:
            return self._scribe.do(writes), None
        except Exception as error:
            if lacks_tables(error):
                raise RecordError(f"its tables are not those of MLflow: {brief(error)}") from error
            if not is_refusal(error) or len(writes) == 1:
                return int(is_refusal(error)), error
        # Of those that went together it may be any, or all together.
        return self._try(writes[:1])

    def _account(self, done: int, error: Exception | None) -> None:
        with self._changed:
            if self._closed:
                return
            if done or error is None:
                self._take(done, error)
            else:
                self._fail(error)
            self._changed.notify_all()

    def _take(self, count: int, refusal: Exception | None) -> None:
        if refusal is not None:
            self.refused.append(refusal)
        if self._journal is None:
            for _ in range(count):
                self._waiting.popleft()
        else:
            self._journal.advance(count)
            self._drop_journal()
        self._failure, self._pause = None, RETRY_SECONDS
        self._succeeded = time.monotonic()
        if self._began_away is not None and self._is_empty():
            told = f"the store answers again after {time.monotonic() - self._began_away:.0f} s, and has everything"
            self._began_away = None
            self._log.write(told)
            _log.warning("%s", told)

    def _fail(self, error: Exception) -> None:
        if self._began_away is None:
            self._began_away = time.monotonic()
            logged = self._log.write("the store does not answer", "".join(traceback.format_exception(error)))
            where = f" (in full: {self._log.path})" if logged else ""
            _log.warning("the store does not answer, and training goes on: %s%s", brief(error), where)
        elif self._failure is None or brief(error) != brief(self._failure):
            self._log.write(f"still not: {brief(error)}")
        self._failure = error
        if self._unwritable is None:
            self._keep(time.monotonic())
        if self._closing:
            self._changed.wait(RETRY_SECONDS)
        else:
            self._changed.wait_for(lambda: self._closing, self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _peek(self) -> list[Write]:
        if self._journal is not None:
            return self._journal.peek()
        return [write for _, write in itertools.islice(self._waiting, AT_ONCE)]

    def _is_empty(self) -> bool:
        return self._journal is None and not self._waiting

    def _keep(self, now: float) -> None:
        """Move what waits in memory into the journal, if it is time to."""
        if not self._waiting or (self._journal is None and now < self._waiting[0][0] + JOURNAL_AFTER):
            return
        try:
            if self._journal is None:
                self._journal = self._make_journal()
            self._journal.append(write for _, write in self._waiting)
        except OSError as error:
            self._drop_journal()
            if self._unwritable is None:
                _log.warning("the journal cannot be written, so what the store lacks stays in memory: %s", error)
            self._unwritable = error
        else:
            self._waiting.clear()

    def _drop_journal(self) -> None:
        """Remove the journal, if nothing in it waits."""
        if self._journal is not None and not self._journal.peek():
            self._journal.remove()
            self._journal.close()
            self._journal = None

    def _finish_journal(self) -> None:
        if self._journal is not None and not self._waiting:
            with contextlib.suppress(OSError):
                self._journal.finish()
