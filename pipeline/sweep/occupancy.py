"""How busy the workers of a sweep are: what a sweep that decides is to keep them."""

from __future__ import annotations

import time
from collections.abc import Callable


class Occupancy:
    """Follows how many groups are computed, and of how many workers that leaves some idle."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._busy = self._whole = 0.0
        self._now = (0, 0)

    def begin(self) -> None:
        """Count from here on, where that has not begun."""
        if self._since is None:
            self._since = self._clock()

    def note(self, groups: int, workers: int) -> None:
        """Take note that so many groups are computed by so many workers from now on."""
        if self._since is not None:
            now = self._clock()
            computed, size = self._now
            self._busy += min(computed, size) * (now - self._since)
            self._whole += size * (now - self._since)
            self._since = now
        self._now = (groups, workers)

    @property
    def idle(self) -> float:
        """The share of the workers' time that they were idle in, NaN where nothing was counted."""
        return 1 - self._busy / self._whole if self._whole else float("nan")
