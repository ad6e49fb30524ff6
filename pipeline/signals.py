"""Signals that stop a sweep cleanly: they become an exception in the main thread."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, Self

from pipeline.errors import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM)

_SHOW_CURSOR = b"\x1b[?25h"  # the progress display hides it


class StopSignals:
    """Raises `Interrupted` at the first SIGINT or SIGTERM; the second ends the process at once.

    `install` again after a library has put handlers of its own in place.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._stopping = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in STOPPING}
        self.install()
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def install(self) -> None:
        """Put the handlers in place (in the main thread, where alone Python allows it)."""
        for number in self._before:
            signal.signal(number, self._stop)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if self._stopping:
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), _SHOW_CURSOR)
            # Nothing may hold up the end: no record that waits for its store, no library that cleans up.
            os._exit(128 + number)
        self._stopping = True
        raise Interrupted(number)
