"""The engine that computes in this process, one group after another: for a lone trial, tests and debuggers."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Self

from pipeline.engine.faults import after_end, after_message, after_raise, after_timeout
from pipeline.engine.ledger import Answer, Ledger
from pipeline.engine.worker import compute
from pipeline.plan.plan import Group
from pipeline.raised import Raised
from pipeline.reports import Report
from tasks.arrays.devices import array_for
from tasks.datasets.dataset import Dataset


class InProcess:
    """Computes the groups on ``threads`` CPUs of this process.

    ``timeout`` (seconds) is checked between the events of a group: a group that hangs is not ended, and a
    trial that crashes its process crashes the sweep, which can then be resumed. A group makes a checkpoint every
    ``checkpoint_every`` steps (None: never).
    """

    _dataset: Dataset  # set by `load`

    def __init__(
        self, *, threads: int, device: str, timeout: float = math.inf, checkpoint_every: int | None = None
    ) -> None:
        self._threads = threads
        self._device = device
        self._timeout = timeout
        self._checkpoint_every = checkpoint_every
        self._waiting: deque[Ledger] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def close(self) -> None:
        """Do nothing: no process was started."""

    @property
    def size(self) -> int:
        """One: groups are computed one after another."""
        return 1

    def load(self, dataset: Dataset) -> None:
        """Load the data, once for all groups."""
        self._dataset = dataset.on(array_for(self._device))

    def submit(self, groups: Sequence[Group], *, last: bool) -> None:
        """Queue groups to compute."""
        del last
        self._waiting += map(Ledger.of, groups)

    def reports(self) -> Iterator[Report]:
        """Compute the groups in order and yield the reports."""
        while self._waiting:
            retried: list[Ledger] = []
            for reports, again in self._answers(self._waiting.popleft()):
                retried += again
                yield from reports
            self._waiting.extendleft(reversed(retried))

    def _answers(self, ledger: Ledger) -> Iterator[Answer]:
        """Compute a group."""
        began, taken = time.monotonic(), 0.0
        for message in compute(
            ledger.trials,
            self._dataset,
            threads=self._threads,
            start=ledger.start,
            checkpoint_every=self._checkpoint_every,
            until=ledger.until,
            device=self._device,
        ):
            taken += time.monotonic() - began
            if isinstance(message, Raised):
                yield after_raise(ledger, message)
                return
            yield after_message(ledger, message)
            if taken > self._timeout:
                yield after_timeout(ledger, self._timeout, silent=0.0)
                return
            began = time.monotonic()  # what is done with the reports is no time of the group's
        yield after_end(ledger)
