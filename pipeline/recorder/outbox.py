"""What waits to be written: params, tags and points by run, and the runs to be ended after them."""

from __future__ import annotations

from pipeline.recorder.batches import Batch
from pipeline.recorder.store import Store


class Outbox:
    """Collects what goes to the store, so that all runs are written in one go."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: dict[str, Batch] = {}
        self._ending: list[tuple[str, str, int]] = []

    def batch(self, run_id: str) -> Batch:
        """Return what waits for a run, to be added to."""
        return self._pending.setdefault(run_id, Batch())

    def end(self, run_id: str, status: str, now: int) -> None:
        """End a run as FINISHED, FAILED or KILLED, after its last points are written."""
        self._ending.append((run_id, status, now))

    def flush(self) -> None:
        """Write what waits; what could not be written waits on."""
        if self._pending:
            self._store.write(self._pending)
            self._pending = {}
        while self._ending:
            self._store.end_run(*self._ending[0])
            self._ending.pop(0)
