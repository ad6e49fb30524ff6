"""The one thread that writes: jobs in order, a flush at intervals, errors kept until it is closed."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

GIVE_UP_AFTER = 3


class Writer:
    """Does jobs in the background, in order, and calls ``flush`` every ``interval`` seconds and at the end.

    A job that raises is not done again; its error is kept. A ``flush`` that raises is called again at the
    next interval, so it must keep what it could not write; its error counts only while it stands. A store
    that failed three times in a row is taken for dead: what follows is dropped at once, since every try may
    take a minute to fail, but for a last flush.

    ``busy`` is the CPU time the thread has used, in seconds.
    """

    def __init__(self, flush: Callable[[], None], *, interval: float) -> None:
        self.busy = 0.0
        self._errors: list[Exception] = []
        self._flush_error: Exception | None = None
        self._flush = flush
        self._interval = interval
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._failures_in_a_row = 0
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], None]) -> None:
        """Queue a job."""
        self._jobs.put(job)

    def close(self) -> list[Exception]:
        """Wait until all jobs are done and flushed; return what could not be done."""
        self._jobs.put(None)
        self._thread.join()
        return self._errors + ([self._flush_error] if self._flush_error else [])

    def _work(self) -> None:
        due = time.monotonic() + self._interval
        while True:
            try:
                job = self._jobs.get(timeout=max(0.0, due - time.monotonic()))
            except queue.Empty:
                job = _nothing
            if job is None:
                break
            if self._failures_in_a_row >= GIVE_UP_AFTER:
                continue
            if job is not _nothing:
                self._do(job)
            if time.monotonic() >= due:
                self._do(self._flush)
                due = time.monotonic() + self._interval
        self._do(self._flush)

    def _do(self, job: Callable[[], None]) -> None:
        start = time.thread_time()
        error = _try(job)
        self.busy += time.thread_time() - start
        self._failures_in_a_row = self._failures_in_a_row + 1 if error else 0
        if job == self._flush:
            self._flush_error = error
        elif error:
            self._errors.append(error)


def _try(job: Callable[[], None]) -> Exception | None:
    try:
        job()
    except Exception as error:  # noqa: BLE001  # whatever a store raises must not end the sweep
        return error
    return None


def _nothing() -> None:
    """Stand for the absence of a job when it is time to flush."""
