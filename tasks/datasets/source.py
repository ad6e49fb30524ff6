"""What a source of data is: a row of the table of datasets, which loads one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tasks.datasets.dataset import Dataset

# Called with what is done and the total (0 where it is unknown), in a unit of the source's own.
Progress = Callable[[int, int], None]


class Source(Protocol):
    """Where a dataset comes from: the fields of a row say which one, `load` reads it."""

    @property
    def validation(self) -> int:
        """How many training examples are set apart for validation."""

    def load(self, *, progress: Progress | None = None) -> Dataset:
        """Read the dataset, the same one at every call; raise a `DataError` where it cannot be had."""
