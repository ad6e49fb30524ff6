"""Signals that stop a sweep cleanly, as an exception in the main thread."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

from pipeline.errors import Interrupted

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

RESEND_AFTER = 0.01
"""Seconds after which a signal is sent again that came where no exception may be raised."""

_RESEND = 128
"""Added to the number of a signal that is to be sent again, to tell it from one that came."""

_LOCKING = {"__enter__", "__exit__", "acquire", "release", "_acquire_restore", "_release_save"}
_LOCK_FILES = {threading.__file__, logging.__file__, "<frozen importlib._bootstrap>"}
"""The functions, and the files, in which Python's own library takes and frees locks."""

_SHOW_CURSOR = b"\x1b[?25h"  # the progress display hides it


_came: list[int] = []

_entered: list[StopSignals] = []

_held = threading.local()


def raise_swallowed() -> None:
    """Raise `Interrupted` again for a signal whose exception was swallowed: a library's import may catch everything."""
    if _came:
        raise Interrupted(_came[0])


class StopSignals:
    """Raises `Interrupted` at the first of the `STOP_SIGNALS` signals; the second ends the process at once.

    The second does so even while the main thread waits in native code, where no Python handler runs. The first is
    repeated a moment later if it comes during a callback of the garbage collector or of a weak reference, where Python
    drops its exception, or while the library takes or frees a lock: the lock would stay taken, and the threads that
    close the record would wait for it for ever.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._stopping = False
        self._dropped = 0
        self._unraisable = sys.unraisablehook
        self._woken = -1
        self._bell: socket.socket | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in STOP_SIGNALS if not _left_alone(number)}
            for number in self._before:
                signal.signal(number, self._stop)
            heard, self._bell = socket.socketpair()
            self._bell.setblocking(False)
            self._woken = signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
            threading.Thread(target=self._listen, args=(heard,), daemon=True).start()
            self._unraisable, sys.unraisablehook = sys.unraisablehook, self._drop
            _entered.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _came.clear()
        if self._bell is not None:
            _entered.remove(self)
            sys.unraisablehook = self._unraisable
            signal.set_wakeup_fd(self._woken)
            self._bell.close()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            return
        if _is_locking(frame):
            self._repeat(number)
            return
        self._stopping = True
        _came.append(number)
        raise Interrupted(number)

    def _drop(self, unraisable: Any) -> None:
        """Repeat a signal whose exception Python has dropped."""
        if not isinstance(unraisable.exc_value, Interrupted):
            self._unraisable(unraisable)
            return
        self._stopping = False
        self._repeat(unraisable.exc_value.number)

    def _repeat(self, number: int) -> None:
        """Have the listening thread send a signal again."""
        assert self._bell is not None, "signals come only while this is entered"
        self._dropped += 1
        self._bell.send(bytes([_RESEND + number]))

    def _listen(self, heard: socket.socket) -> None:
        """Count the signals in a thread of their own, whatever the main thread does."""
        came = 0
        with heard:
            while numbers := heard.recv(1):
                if numbers[0] >= _RESEND:
                    time.sleep(RESEND_AFTER)
                    os.kill(os.getpid(), numbers[0] - _RESEND)
                came += numbers[0] in self._before
                if came - self._dropped == 2:
                    if sys.stdout.isatty():
                        os.write(sys.stdout.fileno(), _SHOW_CURSOR)
                    # Nothing may delay the end: no record that waits for its store, no library that cleans up.
                    os._exit(128 + numbers[0])


def _hold() -> None:
    """Hold signals back while a process is forked: one that the child gets at once would be lost, or the parent's."""
    if _entered:
        _held.before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def _release() -> None:
    before = vars(_held).pop("before", None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_in_child() -> None:
    """Leave the signals of a child process to it: its parent would take them for its own, and end."""
    for signals in reversed(_entered[:]):
        signals.__exit__()
    _release()


os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_leave_in_child)


@contextlib.contextmanager
def deferred(why: str) -> Iterator[None]:
    """Defer the `STOP_SIGNALS` signals, and handle the first of them at the end of the context.

    ``why`` is printed on stderr when one comes. The code in the context must not be interrupted by an exception.
    Handlers that it installs for these signals are not used: that of Ray's start would end the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if not came:
            with contextlib.suppress(OSError):  # a terminal that has been closed
                os.write(2, f"stopping: {why}; a second signal ends at once\n".encode())
        came.append(number)

    taken = {int(number): handler for number in STOP_SIGNALS if callable(handler := signal.getsignal(number))}
    install = signal.signal
    for number in taken:
        install(number, note)
    signal.signal = lambda number, handler: note if number in taken else install(number, handler)  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = install
        for number, handler in taken.items():
            install(number, handler)
        for number in came[:1]:
            taken[number](number, None)


def _is_locking(frame: FrameType | None) -> bool:
    """Return whether a frame of Python's own library is taking or freeing a lock."""
    return frame is not None and frame.f_code.co_name in _LOCKING and frame.f_code.co_filename in _LOCK_FILES


def _left_alone(number: int) -> bool:
    """Return whether this process was started with the signal ignored, as by ``nohup``."""
    return number not in {signal.SIGINT, signal.SIGTERM} and signal.getsignal(number) is signal.SIG_IGN
