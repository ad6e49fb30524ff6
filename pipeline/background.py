"""Work in the background: in daemon threads, which do not delay the end of the process."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_background(work: Callable[[], T]) -> Future[T]:
    """Start work in a daemon thread, and return its future."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # the future raises it in `result`
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


class Writer:
    """Does jobs in the background, in order, and calls ``flush`` every ``interval`` seconds and at the end.

    Jobs may be submitted before it is started: they wait. A job or flush that raises is not done again; its error
    is kept.
    """

    def __init__(self, flush: Callable[[], None], *, interval: float) -> None:
        self._errors: list[Exception] = []
        self._flush = flush
        self._interval = interval
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)

    def start(self) -> None:
        """Begin to do the jobs."""
        self._thread.start()

    def submit(self, job: Callable[[], None]) -> None:
        """Queue a job."""
        self._jobs.put(job)

    def close(self) -> list[Exception]:
        """Wait until all jobs are done and flushed, by a writer that was started; return what could not be done."""
        self._jobs.put(None)
        self._thread.join()
        return self._errors

    def _work(self) -> None:
        due = time.monotonic() + self._interval
        while True:
            with contextlib.suppress(queue.Empty):
                job = self._jobs.get(timeout=max(0.0, due - time.monotonic()))
                if job is None:
                    break
                self._do(job)
            if time.monotonic() >= due:
                self._do(self._flush)
                due = time.monotonic() + self._interval
        self._do(self._flush)

    def _do(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:  # noqa: BLE001  # whatever a job raises must not end the sweep
            self._errors.append(error)
