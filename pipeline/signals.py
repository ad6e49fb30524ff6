"""Signals that stop a sweep cleanly: they become an exception in the main thread."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

from pipeline.errors import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Raises `Interrupted` at the first SIGINT or SIGTERM; the second acts as it did before.

    `install` again after a library has put handlers of its own in place.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in STOPPING}
        self.install()
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def install(self) -> None:
        """Put the handlers in place (in the main thread, where alone Python allows it)."""
        for number in self._before:
            signal.signal(number, self._stop)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self._restore()
        raise Interrupted(number)
