"""Whether a running group is worth splitting, for a worker that is idle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MIN_SAVED_SECONDS = 10.0
"""The least seconds that a split must save: several times the start of a process for the other half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How far a group has come: its running trials, and three shares of its steps.

    ``began`` is the start of this attempt, ``kept`` the last checkpoint, ``done`` the last point or checkpoint. A half
    of the trials takes ``half`` of the whole's time: more than 0.5, since both halves read all examples.
    """

    trials: int
    half: float
    began: float
    kept: float
    done: float

    def saved(self, seconds: float, silent: float) -> float:
        """Return the seconds that splitting the group saves, where it took ``seconds`` from ``began`` to ``done``.

        The halves go on from the last checkpoint. In the ``silent`` seconds since ``done`` the whole has gone on.
        """
        if self.trials < 2 or self.done <= self.began:
            return 0.0
        return seconds / (self.done - self.began) * ((1 - self.done) - (1 - self.kept) * self.half) - silent


def group_to_split(paces: Sequence[tuple[Pace, float, float]]) -> int | None:
    """Return the index of the group whose split saves the most, None if none saves `MIN_SAVED_SECONDS`.

    Each pace comes with the seconds that its group has taken up to its last message, and those since.

    >>> wide = Pace(trials=12, half=0.6, began=0.0, kept=0.2, done=0.25)
    >>> group_to_split([(wide, 5.0, 0.0), (wide, 100.0, 0.0)])
    1
    """
    saved = [pace.saved(seconds, silent) for pace, seconds, silent in paces]
    best = max(range(len(saved)), key=saved.__getitem__, default=None)
    return None if best is None or saved[best] < MIN_SAVED_SECONDS else best
