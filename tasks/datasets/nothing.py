"""No data set: for a task that brings its own data, or needs none."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from tasks.datasets.dataset import Dataset, Split
from tasks.datasets.source import ProgressCallback


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """A data set without an example.

    >>> len(Nothing().load().train)
    0
    """

    def load(self, *, progress: ProgressCallback | None = None) -> Dataset:  # noqa: ARG002 - there is nothing to read
        """Return the data set."""
        empty = Split(images=np.empty((0, 0), dtype=np.uint8), labels=np.empty(0, dtype=np.int64))
        return Dataset(
            name="none",
            train=empty,
            validation=empty,
            test=empty,
            classes=(),
            image_shape=(0,),
            mean=np.empty(0, dtype=np.float32),
            scale=None,
            digest=hashlib.sha256(b"no data").hexdigest(),
        )
