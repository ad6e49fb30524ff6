"""How often a record is written, and how long the recorder waits for a store that does not answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Intervals and limits, in seconds.

    The log is flushed to the disk every ``flush``, a sweep's description is written every ``refresh``, the store gets a
    transaction every ``export``. After a failure the store is retried after ``retry``, with exponential backoff up to
    ``longest_pause``. At the end the recorder waits for the store for ``patience`` (a server that restarts takes a
    minute), or for ``hurry`` if the sweep was stopped; the rest is left to a backfill.
    """

    flush: float = 1.0
    refresh: float = 5.0
    export: float = 1.0
    retry: float = 1.0
    longest_pause: float = 10.0
    patience: float = 180.0
    hurry: float = 15.0


TIMING = Timing()
