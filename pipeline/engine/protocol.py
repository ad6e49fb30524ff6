"""What an engine is: it computes groups, to which more may be added, and yields what happens, as it happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, Self

from pipeline.plan.plan import Group
from pipeline.reports import Report
from tasks.datasets.dataset import Dataset


class Engine(Protocol):
    """Computes groups; a context manager, so that what it started is stopped at the end."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    @property
    def size(self) -> int:
        """How many groups are computed at once, as far as that is known."""

    def load(self, dataset: Dataset) -> None:
        """Take in the data that all groups are computed on."""

    def submit(self, groups: Sequence[Group], *, last: bool) -> None:
        """Take in groups to compute, the first of them first; ``last`` says that no more will follow.

        While more may follow, workers that have nothing to do are kept. Groups may be submitted at any time, also
        while the reports are read.
        """

    def reports(self) -> Iterator[Report]:
        """Compute and yield the reports, until every trial of every group has ended or come to where it pauses.

        A trial of a group ends in exactly one Finished or Failed, or is in exactly one Paused.
        """

    def close(self) -> None:
        """Stop what was started; leaving the context does so too, and doing it twice changes nothing."""


def run(engine: Engine, groups: Sequence[Group], dataset: Dataset) -> Iterator[Report]:
    """Compute groups that are known from the start, and yield the reports."""
    engine.load(dataset)
    engine.submit(groups, last=True)
    yield from engine.reports()
