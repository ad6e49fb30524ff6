"""Processes that draw, so that a sweep's figures take turns neither with one another nor with its record."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, resource_tracker
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.record.drawings import Drawn  # with NumPy, which a process that waits does without

TRIES = 2
"""How often a figure is asked for: a process that was killed need not be the figure's fault."""

_FIGURES = "pipeline.figures.sweep"
_STARTING = threading.Lock()
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_ENVIRONMENT = {
    "PYTHONWARNINGS": "ignore",  # of what a driver that was killed has left
    "PYTHONSAFEPATH": "1",  # what stands in the working folder is not for them
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),  # threads are not forked
}


class DrawingProcesses:
    """``count`` pools of one process each, so that one that is killed takes no figure along but its own.

    They are forked from a process that has imported what figures need: two imports would end a default sweep on two
    cores a second later. They are started by `start`, or when there is a figure to draw. What they are to call must
    be importable. A signal that is meant for this process does not stop them; its end does.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="drawing")
        self._lock = threading.Lock()
        self._begun = False
        self._idle: list[ProcessPoolExecutor] = []

    def start(self) -> None:
        """Start the processes before there is anything to draw; a second time changes nothing."""
        with self._lock:
            if not self._begun:
                self._begun = True
                for _ in range(self._count):
                    self._threads.submit(self._prepare)  # a fork waits for the imports

    def submit(self, draw: Callable[..., Drawn], *arguments: Any) -> Future[Drawn]:
        """Begin to draw ``draw(*arguments)``; the error of what cannot be drawn says why."""
        return self._threads.submit(self._drawn, draw, arguments)

    def close(self) -> None:
        """Wait for what is being drawn, start nothing more, let the processes end, and wait until they have."""
        with self._lock:
            self._begun = True
        self._threads.shutdown()
        for pool in self._idle:
            pool.shutdown()

    def _prepare(self) -> None:
        with contextlib.suppress(OSError, EOFError):  # where there is no room for it now, a figure tries again
            self._idle.append(_started())

    def _drawn(self, draw: Callable[..., Drawn], arguments: tuple[Any, ...]) -> Drawn:
        for tried in range(TRIES):
            with contextlib.suppress(BrokenProcessPool, OSError, EOFError):
                pool = None if tried else self._prepared()
                drawn, reason = self._answer(pool or _started(), draw, arguments)
                if reason:
                    raise RuntimeError(reason)
                return drawn
        raise RuntimeError("the process that drew a figure has ended")

    def _prepared(self) -> ProcessPoolExecutor | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _answer(
        self, pool: ProcessPoolExecutor, draw: Callable[..., Drawn], arguments: tuple[Any, ...]
    ) -> tuple[Drawn, str]:
        answer = pool.submit(_draw, draw, arguments)
        if isinstance(answer.exception(), BrokenProcessPool):
            pool.shutdown()
        else:
            self._idle.append(pool)
        return answer.result()


def _started() -> ProcessPoolExecutor:
    """Return a pool whose process runs."""
    forked = multiprocessing.get_context("forkserver")
    forked.set_forkserver_preload([_FIGURES])
    with _STARTING, _environment():
        resource_tracker.ensure_running()  # by itself: it takes the mask of signals away
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # inherited by what forks, whoever signals it
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    pool = ProcessPoolExecutor(1, mp_context=forked, initializer=_begin)
    pool.submit(importlib.import_module, _FIGURES)
    return pool


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Have processes that are started meanwhile import what this one does from where it does."""
    path = os.pathsep.join(place or os.getcwd() for place in sys.path)  # noqa: PTH109
    changed = {**_ENVIRONMENT, "PYTHONPATH": path}
    before = {name: os.environ[name] for name in changed if name in os.environ}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name in changed:
            del os.environ[name]
        os.environ.update(before)


def _begin() -> None:
    """Begin to be a process that draws."""
    # `ray job stop` and service managers signal a process and its children; the driver may still ask for figures.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    os.setpgid(0, 0)  # a session of its own would get as much CPU as the driver and its workers together
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a library's words are nobody's
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(driver: Any) -> None:
    driver.join()
    os._exit(0)


def _draw(draw: Callable[..., Drawn], arguments: tuple[Any, ...]) -> tuple[Drawn, str]:
    """Return figures, and why there are none."""
    try:
        return draw(*arguments), ""
    except Exception as error:  # noqa: BLE001  # whatever it is, who asked is told
        return {}, f"{type(error).__name__}: {error}"
