"""What a trial's own code prints and logs: followed while it computes, and passed on as before."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, TextIO, TypeVar

MOST = 100_000
"""Characters that are kept between two messages: what a trial says beyond is counted, not kept."""

_SPEAKING: ContextVar[io.StringIO | None] = ContextVar("speaking", default=None)
"""Where goes what is said now. Threads of Python's begin without it: the driver's own are not heard."""

_FORM = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")

T = TypeVar("T")


class Listener:
    """Hears what is said while it is asked for the next event of a computation."""

    def __init__(self) -> None:
        self._heard = io.StringIO()  # one for all: a thread that a trial has begun knows no other

    def hear(self, events: Iterator[T]) -> Iterator[T]:
        """Yield the events, and hear what is said while each is computed."""
        with _followed():
            while True:
                token = _SPEAKING.set(self._heard)
                try:
                    event = next(events)
                except StopIteration:
                    return
                finally:
                    _SPEAKING.reset(token)
                yield event

    def said(self) -> str:
        """Return what was said since it was last asked."""
        text = self._heard.getvalue()
        self._heard.seek(0)
        self._heard.truncate()
        beyond = len(text) - MOST
        return text if beyond <= 0 else f"{text[:MOST]}\n... and {beyond} characters more\n"


@contextlib.contextmanager
def _followed() -> Iterator[None]:
    """Have both streams and all logging lines heard, as far as somebody listens."""
    root, handler = logging.getLogger(), _Handler()
    handler.setFormatter(_FORM)
    streams, level = (sys.stdout, sys.stderr), root.level
    own = (_Tee(streams[0]), _Tee(streams[1]))
    sys.stdout, sys.stderr = own
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO) if level else level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        # Who has put others in their place meanwhile keeps them.
        sys.stdout = streams[0] if sys.stdout is own[0] else sys.stdout
        sys.stderr = streams[1] if sys.stderr is own[1] else sys.stderr


class _Tee:
    """A stream that passes on all it is asked, and lets a listener hear what is written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text."""
        heard = _SPEAKING.get()
        if heard is not None:
            heard.write(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Handler(logging.Handler):
    """Lets a listener hear logging lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        heard = _SPEAKING.get()
        if heard is not None:
            heard.write(self.format(record) + "\n")
