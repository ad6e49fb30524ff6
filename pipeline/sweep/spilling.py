"""Spills what a trial goes on from: out of memory, to a file without a name."""

from __future__ import annotations

import dataclasses
import mmap
import os
import resource
import tempfile
from pathlib import Path

import numpy as np

from pipeline.plan.plan import Progress

SMALLEST = 2**20
"""The bytes from which on the arrays of a trial are spilled."""

_ALIGNMENT = 64
"""Each array's offset is a multiple of so many bytes: NumPy is slower on numbers that are not aligned."""


def spilled(progress: Progress, folder: Path) -> Progress:
    """Return ``progress`` with its arrays in the pages of a file in ``folder``, which the system may drop from memory.

    The arrays are read-only. The file ends with the process, or once nothing refers to them. Small arrays stay in
    memory, and so do those that the disk has no room for, or that would need more than half of the files that this
    process may open.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in progress.checkpoint.arrays.items()}
    if sum(array.nbytes for array in arrays.values()) < SMALLEST:
        return progress
    offsets = {}
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.close(number := os.dup(file.fileno()))  # the lowest free number: the mapped pages will take it
            if 2 * number > resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
                return progress
            for name, array in arrays.items():
                offsets[name] = file.seek(-file.tell() % _ALIGNMENT, os.SEEK_CUR)
                file.write(array.data)
            file.truncate()  # an empty array that is the last may begin beyond what was written
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError:
        return progress
    kept = {name: np.ndarray(array.shape, array.dtype, pages, offsets[name]) for name, array in arrays.items()}
    return dataclasses.replace(progress, checkpoint=dataclasses.replace(progress.checkpoint, arrays=kept))
