"""The interface of a data source: a row of the table of datasets, which loads one."""

from __future__ import annotations

import os.path
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tasks.datasets.dataset import Dataset
from tasks.errors import DataError

# Called with the amount done and the total (0 where it is unknown), in a unit of the source's choice.
ProgressCallback = Callable[[int, int], None]


class Source(Protocol):
    """A row of `DATASETS`: its fields say which dataset it is, `load` reads it."""

    def load(self, *, progress: ProgressCallback | None = None) -> Dataset:
        """Read the dataset, the same one at every call; raise a `DataError` where that fails."""


def load(source: Source, *, progress: ProgressCallback | None = None) -> Dataset:
    """Return what a source loads; raise a `DataError` where it asks the process to exit instead."""
    try:
        return source.load(progress=progress)
    except SystemExit as error:
        raise DataError(f"{type(source).__name__}.load must return a data set, got SystemExit: {error}") from error


def expanded(root: str) -> Path:
    """Return a path that the user gave, ``~`` expanded; ``~NAME`` stays as it is if nobody has that name."""
    return Path(os.path.expanduser(root))  # noqa: PTH111  # pathlib raises a RuntimeError for a name that nobody has
