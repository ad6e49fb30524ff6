"""Work in the background: in a daemon thread, which does not delay the end of the process."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_background(work: Callable[[], T], *, nice: int = 0) -> Future[T]:
    """Start work in a daemon thread, on Linux with the niceness ``nice``, and return its future."""
    future: Future[T] = Future()

    def run() -> None:
        if nice and sys.platform == "linux":  # elsewhere it would change the whole process
            with contextlib.suppress(OSError):
                os.nice(nice)
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # the future raises it in `result`
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
