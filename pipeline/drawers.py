"""Processes that draw, so that a sweep's figures take turns neither with one another nor with its record."""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pipeline.background import later

if TYPE_CHECKING:
    from pipeline.recorder.drawings import Drawn  # with NumPy, which a process that waits does without

TRIES = 2
"""How often a figure is asked for: a process that was killed need not be the figure's fault."""

NICE = 10
"""How nice the thread is that imports: what this sweep has started gets ten times its CPU where cores are few."""

_FIGURES = "pipeline.figures.sweep"


class _OfThread(threading.local):
    """The process that a thread asks."""

    process: Any = None


class DrawingProcesses:
    """``count`` processes that import what most figures need where there is CPU that nothing else wants.

    Each is started by `start`, or when there is a figure to draw and the others are busy. What they are to call must
    be importable. They end by themselves when they have drawn their last figure and this process is no more; a signal
    that is meant for this process does not stop them.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="drawing")
        self._mine = _OfThread()
        self._begun = False
        self._started: list[Any] = []

    def start(self) -> None:
        """Start the processes before there is anything to draw; a second time changes nothing."""
        if self._begun:
            return
        self._begun = True
        with contextlib.suppress(RuntimeError):  # they have been closed meanwhile
            for _ in range(self._count):
                self._threads.submit(self._process)

    def submit(self, draw: Callable[..., Drawn], *arguments: Any) -> Future[Drawn]:
        """Begin to draw ``draw(*arguments)``; the error of what cannot be drawn says why."""
        return self._threads.submit(self._drawn, draw, arguments)

    def close(self) -> None:
        """Wait for what is being drawn, start nothing more, let the processes end, and wait until they have."""
        self._begun = True
        self._threads.shutdown()
        with contextlib.ExitStack() as ending:
            for process in self._started:
                ending.enter_context(process)  # it is waited for
                with contextlib.suppress(OSError):
                    process.stdin.close()

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
        process = self._process()
        pickle.dump(request, process.stdin)
        process.stdin.flush()
        drawn, reason = pickle.load(process.stdout)  # noqa: S301  # from a process of our own
        return drawn, reason

    def _process(self) -> Any:
        """Return the process of this thread."""
        if self._mine.process is None:
            # It imports what this process imports from where it does, whatever folder they are in.
            path = os.pathsep.join(place or os.getcwd() for place in sys.path)  # noqa: PTH109
            self._mine.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pipeline.drawers"],
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                process_group=0,  # in a session of its own, Linux would not let it be nice to the others
            )
            self._started.append(self._mine.process)
        return self._mine.process

    def _end(self) -> None:
        """End the process of this thread, which does not answer as it should."""
        if self._mine.process is not None:
            self._mine.process.kill()
            self._mine.process = None


def main() -> None:
    """Draw what is asked for until nobody asks any more; an answer is figures, and why there are none."""
    # `ray job stop` and service managers signal a process and its children; the driver may still ask for figures.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a library's words are no answer
    later(lambda: importlib.import_module(_FIGURES), nice=NICE)
    with contextlib.suppress(EOFError, BrokenPipeError, pickle.UnpicklingError):  # who asked is no more
        while True:
            request = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the process that started this one
            pickle.dump(_answer(request), answers)
            answers.flush()


def _answer(request: bytes) -> tuple[Drawn, str]:
    try:
        draw, arguments = pickle.loads(request)  # noqa: S301  # as above
        return draw(*arguments), ""
    except Exception as error:  # noqa: BLE001  # whatever it is, who asked is told
        return {}, f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
    os._exit(0)  # a thread that is importing still must not meet an interpreter that is taken down
