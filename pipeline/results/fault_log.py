"""The log of a sweep's faults, each in full: a file in the sweep's folder, created with the first fault."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pipeline.address import cause, redact

NAME = "faults.log"
LONGEST = 300
"""The most characters of an error in a line; the log holds the whole."""

_LOUD = ("", "mlflow", "sqlalchemy", "urllib3")
"""The loggers whose handlers print: MLflow's has its own."""


class FaultLog:
    """Appends to the file `NAME` in ``folder``, from any thread; a full disk costs the log only."""

    def __init__(self, folder: Path) -> None:
        self.path = folder.absolute() / NAME
        self._lock = threading.Lock()

    def write(self, title: str, text: str = "") -> bool:
        """Append a fault: a line, and its text in full. Return whether it could be written."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        lines = redact(f"{now} {title}\n{text}").rstrip()
        try:
            with self._lock, self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{lines}\n")
        except OSError:
            return False
        return True


def brief(error: object) -> str:
    """Return the first line of an error's message, shortened in the middle if it is long, without credentials."""
    lines = [line.strip() for line in cause(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


class Quiet(logging.Filter):
    """A context in which this thread's warnings and errors go into ``log`` instead; each that repeats itself once."""

    def __init__(self, log: FaultLog) -> None:
        super().__init__()
        self._log = log
        self._last = ""
        self._thread = 0
        self._handlers: list[logging.Handler] = []

    def __enter__(self) -> Self:
        self._thread = threading.get_ident()
        self._handlers = [handler for name in _LOUD for handler in logging.getLogger(name).handlers]
        if logging.lastResort is not None:
            self._handlers.append(logging.lastResort)
        for handler in self._handlers:
            handler.addFilter(self)
        return self

    def __exit__(self, *exception: object) -> None:
        for handler in self._handlers:
            handler.removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a handler is to handle a record."""
        if record.thread != self._thread or record.levelno < logging.WARNING or record.name.startswith("pipeline"):
            return True
        title = f"{record.name}: {brief(record.getMessage())}"
        if title != self._last:
            self._last = title
            self._log.write(title)
        return False
