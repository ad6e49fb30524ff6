"""The errors of the world outside: an engine that cannot start, trials that failed, a sweep that was stopped."""

from __future__ import annotations

import signal

from tasks.errors import SweepError


class EngineError(SweepError):
    """The engine cannot be started or reached."""


class RecordError(SweepError):
    """The record cannot be reached, read or written whole."""


class TrialsFailedError(SweepError):
    """A sweep has ended, and not all of its trials did so by themselves."""


class Interrupted(BaseException):  # like KeyboardInterrupt: nobody should catch it in passing
    """A signal asked the process to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class HydraBypass(BaseException):
    """Carries an expected error past Hydra, which would print more about it than a person needs."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error
