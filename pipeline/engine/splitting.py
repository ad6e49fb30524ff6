"""Whether a running group is worth splitting, for a worker that is idle."""

from __future__ import annotations

from collections.abc import Sequence

MIN_SAVED_SECONDS = 10.0
"""The least seconds that a split must save: several times the start of a process for the other half."""


def saved_by_split(*, half: float, began: float, kept: float, done: float, seconds: float, silent: float) -> float:
    """Return the seconds that splitting a group saves, which took ``seconds`` from ``began`` to ``done``.

    These are shares of its steps: ``began`` is the start of this attempt, ``kept`` the last checkpoint, from which the
    halves go on, ``done`` the last point or checkpoint. In the ``silent`` seconds since ``done`` the whole has gone on.
    A half of the trials takes ``half`` of the whole's time: more than 0.5, since both halves read all examples.
    """
    if done <= began:
        return 0.0
    return seconds / (done - began) * ((1 - done) - (1 - kept) * half) - silent


def group_to_split(saved: Sequence[float]) -> int | None:
    """Return the index of the group whose split saves the most seconds, None if none saves `MIN_SAVED_SECONDS`.

    >>> group_to_split([15.0, 90.0]), group_to_split([5.0, -20.0])
    (1, None)
    """
    best = max(range(len(saved)), key=saved.__getitem__, default=None)
    return None if best is None or saved[best] < MIN_SAVED_SECONDS else best
