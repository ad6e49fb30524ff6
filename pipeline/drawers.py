"""Processes that draw, so that a sweep's figures take turns neither with one another nor with its record."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

from pipeline.recorder.drawings import Drawn


class Processes:
    """Up to ``count`` processes, each started when there is a figure to draw and the others are busy.

    They are asked and answer through their stdin and stdout, end with this process whatever ends it, and no
    terminal's signal reaches them.
    """

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="drawing")
        self._mine = threading.local()
        self._started: list[subprocess.Popen[bytes]] = []

    def submit(self, draw: Callable[..., Drawn], *arguments: Any) -> Future[Drawn]:
        """Begin to draw ``draw(*arguments)``; what cannot be drawn is a `RuntimeError` that says why."""
        return self._threads.submit(self._ask, draw, arguments)

    def close(self) -> None:
        """Let the processes end, and wait until they have."""
        self._threads.shutdown()
        for process in self._started:
            process.communicate()

    def _ask(self, draw: Callable[..., Drawn], arguments: tuple[Any, ...]) -> Drawn:
        request, process = pickle.dumps((draw, arguments)), self._process()
        try:
            process.stdin.write(request)
            process.stdin.flush()
            drawn, reason = pickle.load(process.stdout)  # noqa: S301  # from a process of our own
        except (OSError, EOFError):
            del self._mine.process
            raise RuntimeError("the process that drew a figure has ended") from None
        if reason:
            raise RuntimeError(reason)
        return cast("Drawn", drawn)

    def _process(self) -> Any:
        """Return the process of this thread."""
        if not hasattr(self._mine, "process"):
            self._mine.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.drawers"],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
            self._started.append(self._mine.process)
        return self._mine.process


def main() -> None:
    """Draw what is asked for until nobody asks any more; an answer is figures, and why there are none."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library's words are no answer
    while True:
        try:
            draw, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the process that started this one
        except EOFError:
            break
        try:
            answer = draw(*arguments), ""
        except Exception as error:  # noqa: BLE001  # whatever it is, who asked is told
            answer = {}, f"{type(error).__name__}: {error}"
        try:
            pickle.dump(answer, answers)
            answers.flush()
        except BrokenPipeError:
            break
    os._exit(0)  # at once: there is nothing to tidy up


if __name__ == "__main__":
    main()
