"""What an engine is: it computes the groups of a plan and yields what happens, as it happens."""

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

    def run(self, groups: Sequence[Group], dataset: Dataset) -> Iterator[Report]:
        """Compute the groups and yield the reports; every trial ends in exactly one Finished or Failed."""

    def close(self) -> None:
        """Stop what was started; leaving the context does so too, and doing it twice changes nothing."""
