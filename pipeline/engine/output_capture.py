"""Captures what a trial's own code prints and logs while it computes; the output still goes where it went before."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any, TextIO, TypeVar

MAX_CHARACTERS = 100_000
"""The most characters that are kept between two messages; the others are counted."""

_CAPTURE: ContextVar[OutputCapture | None] = ContextVar("capture", default=None)
"""The capture of this context. New threads of Python start without one: the driver's are not captured."""

_FORMATTER = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")

T = TypeVar("T")


class OutputCapture:
    """Captures what a computation prints and logs while its next event is computed, at most `MAX_CHARACTERS`.

    One capture serves all events, since a thread that a trial starts keeps the capture that it started with.
    """

    def __init__(self) -> None:
        self._kept = io.StringIO()
        self._beyond = 0

    def follow(self, events: Iterator[T]) -> Iterator[T]:
        """Yield the events, and capture the output while each is computed."""
        streams: tuple[Any, Any] = _Tee(sys.stdout), _Tee(sys.stderr)
        with _captured_log():
            while True:
                outside, token = (sys.stdout, sys.stderr), _CAPTURE.set(self)
                sys.stdout, sys.stderr = streams
                try:
                    event = next(events)
                except StopIteration:
                    return
                finally:
                    # What the trial has put in their place is its own: the next trial would print to it, too.
                    streams = sys.stdout, sys.stderr
                    sys.stdout, sys.stderr = outside
                    _CAPTURE.reset(token)
                yield event

    def write(self, text: str) -> None:
        """Capture a text."""
        kept = text[: max(0, MAX_CHARACTERS - self._kept.tell())]
        self._kept.write(kept)
        self._beyond += len(text) - len(kept)

    def drain(self) -> str:
        """Return the output since the last call."""
        text, beyond = self._kept.getvalue(), self._beyond
        self._kept.seek(0)
        self._kept.truncate()
        self._beyond = 0
        return f"{text}\n... and {beyond} characters more\n" if beyond else text


@contextlib.contextmanager
def _captured_log() -> Iterator[None]:
    """Copy all log lines to the capture of their context, if it has one."""
    root, handler = logging.getLogger(), _Handler()
    handler.setFormatter(_FORMATTER)
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO) if level else level)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


class _Tee:
    """A stream that passes everything on, and copies what is written to the capture of its context."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text."""
        capture = _CAPTURE.get()
        if capture is not None:
            capture.write(text)
        return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts."""
        for text in lines:
            self.write(text)

    def close(self) -> None:
        """Flush the stream, and leave it open: it is not the trial's alone."""
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Handler(logging.Handler):
    """Copies log lines to the capture of their context."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; a call whose arguments do not fit its format costs the line only, as with logging's own."""
        capture = _CAPTURE.get()
        if capture is None:
            return
        try:
            capture.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001  # whatever an argument's own text raises
            self.handleError(record)
