"""Who draws the figures of a record: the thread that submits them, or processes beside it."""

from __future__ import annotations

import contextlib
import functools
import importlib
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, resource_tracker
from multiprocessing.util import get_temp_dir
from typing import Any, Protocol

from pipeline.config.environment import variables

Images = Mapping[str, bytes]
"""The images of figures, by file name."""

TRIES = 2
"""The attempts to draw a figure: a killed process need not be the figure's fault."""

_FIGURES = ["pipeline.figures.sweep", "pipeline.figures.trial"]
_STARTING = threading.Lock()
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_ENVIRONMENT = {
    "PYTHONWARNINGS": "ignore",  # about resources that a killed driver has leaked
    "PYTHONSAFEPATH": "1",  # no imports from the working folder
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),  # a fork loses threads
}


class Drawers(Protocol):
    """Executes functions that draw, at once or in processes of its own."""

    def start(self) -> None:
        """Prepare for the first figure, idempotently."""

    def submit(self, draw: Callable[..., Images], *arguments: Any) -> Future[Images]:
        """Execute ``draw(*arguments)``, and return its future."""

    def close(self) -> None:
        """Release all resources; nothing is submitted any more."""


class InThisThread:
    """Draws in the thread that submits."""

    def start(self) -> None:
        """Do nothing."""

    def submit(self, draw: Callable[..., Images], *arguments: Any) -> Future[Images]:
        """Call ``draw(*arguments)``, and return its result as a future."""
        drawn: Future[Images] = Future()
        try:
            drawn.set_result(draw(*arguments))
        except Exception as error:  # noqa: BLE001  # the future raises it in `result`
            drawn.set_exception(error)
        return drawn

    def close(self) -> None:
        """Do nothing."""


class DrawingProcesses:
    """``count`` pools of one process each, so that a killed process loses only its own figure.

    They are forked from a process that has imported Matplotlib: with two imports, a default sweep on two cores would
    take a second longer. They are started by `start`, or with the first figure. The functions that they call must be
    importable. They ignore signals, and end when this process ends.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="drawing")
        self._begun = False
        self._pools: dict[int, ProcessPoolExecutor] = {}  # by thread
        self._pickling = threading.Lock()
        self._last: tuple[tuple[Any, ...], bytes] = (), pickle.dumps(())

    def start(self) -> None:
        """Start the processes before the first figure. It is idempotent, and does nothing after `close`."""
        if not self._begun:
            self._begun = True
            for _ in range(self._count):
                self._threads.submit(self._pool)  # a fork waits for the imports

    def submit(self, draw: Callable[..., Images], *arguments: Any) -> Future[Images]:
        """Start drawing ``draw(*arguments)``; the future raises the error of a figure that cannot be drawn."""
        return self._threads.submit(self._drawn, draw, arguments)

    def close(self) -> None:
        """Wait for the figures that are being drawn, then end the processes, and wait for their end."""
        self._begun = True
        self._threads.shutdown()
        for pool in self._pools.values():
            pool.shutdown()

    def _pool(self) -> ProcessPoolExecutor:
        """Return the pool of this thread."""
        thread = threading.get_ident()
        if thread not in self._pools:
            self._pools[thread] = _started()
        return self._pools[thread]

    def _drawn(self, draw: Callable[..., Images], arguments: tuple[Any, ...]) -> Images:
        for _ in range(TRIES):
            with contextlib.suppress(OSError, EOFError):  # if the process cannot start
                try:
                    return self._pool().submit(_draw, draw, self._pickled(arguments)).result()
                except BrokenProcessPool:
                    self._pools.pop(threading.get_ident()).shutdown()
        raise RuntimeError("the process that drew a figure has ended")

    def _pickled(self, arguments: tuple[Any, ...]) -> bytes:
        """Return pickled arguments; the last ones are kept, as all figures of a sweep have the same large ones."""
        with self._pickling:
            given, packed = self._last
            if [*map(id, given)] != [*map(id, arguments)]:
                packed = pickle.dumps(arguments, protocol=pickle.HIGHEST_PROTOCOL)
                self._last = arguments, packed
        return packed


def _started() -> ProcessPoolExecutor:
    """Return a pool with a running process."""
    forked = multiprocessing.get_context("forkserver")
    forked.set_forkserver_preload(_FIGURES)
    path = os.pathsep.join(place or os.getcwd() for place in sys.path)  # noqa: PTH109
    with _STARTING, variables({**_ENVIRONMENT, "PYTHONPATH": path}):
        resource_tracker.ensure_running()  # before the mask is set: its start resets the mask of signals
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # inherited by the forked processes
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    pool = ProcessPoolExecutor(1, mp_context=forked, initializer=_begin, initargs=(get_temp_dir(),))
    pool.submit(importlib.import_module, _FIGURES[0])
    return pool


def _begin(sockets: str) -> None:
    """Initialise a drawing process, whose driver has the folder ``sockets`` for those of its processes."""
    # `ray job stop` and service managers signal a process and its children; the driver may still need figures.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    os.setpgid(0, 0)  # a session of its own would get as much CPU as the driver and its workers together
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # discard what libraries print
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(), sockets), daemon=True).start()


def _end_with(driver: Any, sockets: str) -> None:
    driver.join()
    shutil.rmtree(sockets, ignore_errors=True)  # a driver that was killed has left it
    os._exit(0)


def _draw(draw: Callable[..., Images], arguments: bytes) -> Images:
    try:
        return draw(*_unpickled(arguments))
    except Exception as error:  # noqa: BLE001  # the driver may not be able to unpickle the error itself
        raise RuntimeError(f"{type(error).__name__}: {error}") from None


@functools.lru_cache(maxsize=1)
def _unpickled(arguments: bytes) -> Any:
    return pickle.loads(arguments)  # noqa: S301  # the driver's own
