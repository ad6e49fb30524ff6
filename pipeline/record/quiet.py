"""Quiet: what libraries say of a store's faults in a thread of ours goes into the log of faults, not on the screen."""

from __future__ import annotations

import logging
import threading
from typing import Self

from pipeline.results.fault_log import FaultLog, brief

_LOUD = ("", "mlflow", "sqlalchemy", "urllib3")
"""The loggers whose handlers print: MLflow's has its own."""


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
