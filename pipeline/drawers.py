"""Processes that draw, so that a sweep's figures take turns neither with one another nor with its record."""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.recorder.drawings import Drawn  # with NumPy, which a process that waits does without

TRIES = 2
"""How often a figure is asked for: a process that was killed need not be the figure's fault."""

_FIGURES = "pipeline.figures.sweep"


class _OfThread(threading.local):
    """The process that a thread asks, by the socket to it."""

    asked: socket.socket | None = None


class DrawingProcesses:
    """``count`` processes, one that imports what figures need and others that are forked from it when it has.

    They are started by `start`, or when there is a figure to draw. What they are to call must be importable. They end
    by themselves when they have drawn their last figure and this process is no more; a signal that is meant for this
    process does not stop them.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="drawing")
        self._mine = _OfThread()
        self._lock = threading.Lock()
        self._begun = False
        self._idle: list[socket.socket] = []
        self._all: list[socket.socket] = []
        self._started: list[Any] = []

    def start(self) -> None:
        """Start the processes before there is anything to draw; a second time changes nothing."""
        with self._lock, contextlib.suppress(OSError):  # where there is no room for them now, a figure tries again
            if not self._begun:
                self._begun = True
                self._idle = self._start(self._count)

    def submit(self, draw: Callable[..., Drawn], *arguments: Any) -> Future[Drawn]:
        """Begin to draw ``draw(*arguments)``; the error of what cannot be drawn says why."""
        return self._threads.submit(self._drawn, draw, arguments)

    def close(self) -> None:
        """Wait for what is being drawn, start nothing more, let the processes end, and wait until they have."""
        with self._lock:
            self._begun = True
        self._threads.shutdown()
        for asked in self._all:
            asked.close()
        unasked = self._idle == self._all
        while self._started:
            process = self._started.pop()
            if unasked:  # it may be importing still
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _drawn(self, draw: Callable[..., Drawn], arguments: tuple[Any, ...]) -> Drawn:
        request = pickle.dumps((draw, arguments))
        for _ in range(TRIES):
            try:
                drawn, reason = self._answer(request)
            except (OSError, EOFError, pickle.UnpicklingError):
                self._end()
                continue
            if reason:
                raise RuntimeError(reason)
            return drawn
        raise RuntimeError("the process that drew a figure has ended")

    def _answer(self, request: bytes) -> tuple[Drawn, str]:
        with self._asked().makefile("rwb") as stream:
            pickle.dump(request, stream)
            stream.flush()
            drawn, reason = pickle.load(stream)  # noqa: S301  # from a process of our own
        return drawn, reason

    def _asked(self) -> socket.socket:
        """Return the socket to the process of this thread."""
        if self._mine.asked is None:
            self.start()
            with self._lock:
                self._mine.asked = (self._idle or self._start(1)).pop()
        return self._mine.asked

    def _start(self, count: int) -> list[socket.socket]:
        """Start processes, and return the socket to each."""
        # They import what this process imports from where it does, whatever folder they are in, and need BLAS for
        # hardly anything: threads of its own would not be forked.
        path = os.pathsep.join(place or os.getcwd() for place in sys.path)  # noqa: PTH109
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        with contextlib.ExitStack() as passed:
            ours, theirs = zip(*(socket.socketpair() for _ in range(count)), strict=True)
            numbers = [passed.enter_context(end).fileno() for end in theirs]
            process = subprocess.Popen(  # noqa: S603  # nothing in it is a user's
                [sys.executable, "-P", "-m", "pipeline.drawers", *map(str, numbers)],
                env={**os.environ, **one_thread, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # a library's words are nobody's
                pass_fds=numbers,
                process_group=0,  # a session of its own would get as much CPU as the driver and its workers together
            )
        self._started.append(process)
        self._all += ours
        return list(ours)

    def _end(self) -> None:
        """Leave the process of this thread, which does not answer as it should; it ends when it notices."""
        if self._mine.asked is not None:
            self._mine.asked.close()
            self._mine.asked = None


def main(numbers: Sequence[int]) -> None:
    """Draw what is asked for on each of these sockets, by as many processes, until nobody asks any more."""
    # `ray job stop` and service managers signal a process and its children; the driver may still ask for figures.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(Exception):  # who asks for a figure is told why there is none
        importlib.import_module(_FIGURES)
    mine, *others = (socket.socket(fileno=number) for number in numbers)
    forked = []
    while others:
        other = others.pop()
        if child := os.fork():
            forked.append(child)
            other.close()
        else:
            for another in (mine, *others):
                another.close()
            mine, others, forked = other, [], []
    with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError), mine.makefile("rwb") as stream:
        while True:
            request = pickle.load(stream)  # noqa: S301  # from the process that started this one
            pickle.dump(_answer(request), stream)
            stream.flush()
    for child in forked:  # who waits for this process waits for them all
        os.waitpid(child, 0)


def _answer(request: bytes) -> tuple[Drawn, str]:
    """Return figures, and why there are none."""
    try:
        draw, arguments = pickle.loads(request)  # noqa: S301  # as above
        return draw(*arguments), ""
    except Exception as error:  # noqa: BLE001  # whatever it is, who asked is told
        return {}, f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main([int(number) for number in sys.argv[1:]])
    os._exit(0)  # nothing is to be cleaned up, by a forked process least of all
