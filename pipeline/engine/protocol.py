"""The interface of an engine: groups are submitted to it at any time, and it yields their reports as they happen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, Self

from pipeline.plan.plan import Group
from pipeline.reports import Report
from tasks.datasets.dataset import Dataset


class Engine(Protocol):
    """Computes groups; a context manager that ends the processes it started."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    @property
    def size(self) -> int:
        """How many groups are computed at once, as far as known."""

    def load(self, dataset: Dataset) -> None:
        """Load the data set of all groups."""

    def submit(self, groups: Sequence[Group], *, last: bool) -> None:
        """Add groups to compute, in order; ``last`` says that no more will follow.

        While more may follow, idle workers are kept. Groups may be submitted at any time, also while the reports are
        read.
        """

    def reports(self) -> Iterator[Report]:
        """Compute and yield the reports, until every trial of every group has ended or paused.

        A trial of a group has exactly one Finished or Failed, or is in exactly one Paused.
        """

    def close(self) -> None:
        """End the processes that were started. It is idempotent; leaving the context closes, too."""


def run(engine: Engine, groups: Sequence[Group], dataset: Dataset) -> Iterator[Report]:
    """Compute groups that are known from the start, and yield the reports."""
    engine.load(dataset)
    engine.submit(groups, last=True)
    yield from engine.reports()
