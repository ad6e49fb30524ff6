"""How often a record is written, and how long a store that does not answer is waited for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds, all of them.

    ``flush`` lie between two times that what waits goes to the disk, ``refresh`` between two versions of a sweep's
    description, ``export`` between two transactions. A store that did not answer is tried again after ``retry``, each
    time after twice as many, ``longest_pause`` at most. At the end it is waited for ``patience``, then the rest is left
    to a backfilling: a server that starts again takes a minute; or for ``hurry``, if somebody has stopped the sweep,
    and so waits for its end.
    """

    flush: float = 1.0
    refresh: float = 5.0
    export: float = 1.0
    retry: float = 1.0
    longest_pause: float = 10.0
    patience: float = 180.0
    hurry: float = 15.0


TIMING = Timing()
