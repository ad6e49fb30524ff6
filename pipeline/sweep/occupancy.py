"""The occupancy of a sweep's workers: which share of their time they are idle."""

from __future__ import annotations

import time
from collections.abc import Callable


class Occupancy:
    """Integrates over time how many groups are computed by how many workers."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._busy = self._whole = 0.0
        self._now = (0, 0)

    def begin(self) -> None:
        """Start counting, unless it has started."""
        if self._since is None:
            self._since = self._clock()

    def note(self, groups: int, workers: int) -> None:
        """Record that from now on so many groups are computed by so many workers."""
        if self._since is not None:
            now = self._clock()
            computed, size = self._now
            self._busy += min(computed, size) * (now - self._since)
            self._whole += size * (now - self._since)
            self._since = now
        self._now = (groups, workers)

    @property
    def idle(self) -> float:
        """The share of the workers' time that they were idle, NaN if nothing was computed."""
        return 1 - self._busy / self._whole if self._busy else float("nan")
