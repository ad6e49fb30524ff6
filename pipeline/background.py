"""Work in the background: in a thread that nobody waits for when the process ends."""

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
    """Start work in a thread that nobody waits for when the process ends, ``nice`` to all others where it can be."""
    future: Future[T] = Future()

    def run() -> None:
        if nice and sys.platform == "linux":  # elsewhere it would be the whole process
            with contextlib.suppress(OSError):
                os.nice(nice)
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # it is raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
