"""When a group that has started is worth halving, for a worker that has nothing to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.plan.balance import OVERHEAD

WORTH = 10.0
"""Seconds that halving must save: several times what it costs to start a process for the other half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How far a group has come: its open trials, and the parts of its steps where it ``began``, is ``kept``, is."""

    trials: int
    began: float
    kept: float
    done: float

    def saved(self, seconds: float) -> float:
        """Return the seconds that are saved by halving the group, which took so many from ``began`` to ``done``.

        Its halves go on from the last checkpoint, each faster than the whole, but with the same overhead.
        """
        if self.trials < 2 or self.done <= self.began:
            return 0.0
        half = (-(-self.trials // 2) + OVERHEAD) / (self.trials + OVERHEAD)
        return seconds / (self.done - self.began) * ((1 - self.done) - (1 - self.kept) * half)


def to_halve(paces: Sequence[tuple[Pace, float]]) -> int | None:
    """Return the place of the group whose halving saves the most, of those that have taken so many seconds.

    None where none is worth it.

    >>> wide = Pace(trials=12, began=0.0, kept=0.2, done=0.25)
    >>> to_halve([(wide, 5.0), (wide, 100.0)])
    1
    """
    saved = [pace.saved(seconds) for pace, seconds in paces]
    best = max(range(len(saved)), key=saved.__getitem__, default=None)
    return None if best is None or saved[best] < WORTH else best
