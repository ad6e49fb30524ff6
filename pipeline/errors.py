"""The errors of the pipeline: an engine that cannot start, a record that cannot be written, trials that failed."""

from __future__ import annotations

import signal

from tasks.errors import SweepError


class EngineError(SweepError):
    """The engine cannot be started or reached."""


class RecordError(SweepError):
    """The record cannot be reached, read or written completely."""


class UndrawnError(RecordError):
    """The record is complete but for figures that cannot be drawn."""


class TrialsFailedError(SweepError):
    """A sweep has ended with failed trials."""


class Interrupted(BaseException):  # like KeyboardInterrupt: `except Exception` should not catch it
    """A signal asked the process to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class HydraBypass(BaseException):
    """Carries an error past Hydra, which would print its overrides, also a password, and more than the user needs."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error
