"""The engine that computes in this process, one group after another: for one trial, tests and debuggers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Self

from pipeline.engine.ledger import Ledger
from pipeline.engine.protocol import Report
from pipeline.engine.worker import compute
from pipeline.plan import Group
from tasks.datasets.dataset import Dataset


class InProcess:
    """Computes the groups on ``threads`` CPUs of this process.

    ``timeout`` (seconds, None: none) is checked between the events of a group: what never yields is not ended.
    """

    def __init__(self, *, threads: int, device: str, timeout: float | None) -> None:
        self._threads = threads
        self._device = device
        self._timeout = timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def run(self, groups: Sequence[Group], dataset: Dataset) -> Iterator[Report]:
        """Compute the groups in order and yield the reports."""
        for group in groups:
            ledger = Ledger(group, threads=self._threads, device=self._device)
            trials = tuple(planned.trial for planned in group.trials)
            deadline = float("inf") if self._timeout is None else time.monotonic() + self._timeout
            for message in compute(trials, dataset, width=group.width, threads=self._threads):
                yield from ledger.take(message)
                if time.monotonic() > deadline:
                    yield from ledger.fail(f"trial.timeout: took longer than {self._timeout} s", "")
                    break
            yield from ledger.end()
