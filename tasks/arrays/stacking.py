"""Stacking: rows of many trials become one row whose hyperparameters are arrays over the trial axis."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array


def stack(rows: Sequence[Array], *, like: Array, trailing: int) -> Array:
    """Return one row of the rows' class, each number ``(K,)`` followed by ``trailing`` axes of length 1.

    The numbers are of the library, precision and device of ``like``. The rows were validated when they were built, so
    the stacked one is not validated again.
    """
    kind = type(rows[0])
    assert all(type(row) is kind for row in rows), "only rows of one class stack"
    stacked = object.__new__(kind)
    for field in dataclasses.fields(kind):
        column = per_trial([getattr(row, field.name) for row in rows], like=like, trailing=trailing)
        object.__setattr__(stacked, field.name, column)
    return stacked


def per_trial(values: Sequence[float], *, like: Array, trailing: int) -> Array:
    """Return numbers as an array ``(K,)`` followed by ``trailing`` axes of length 1."""
    xp = array_namespace(like)
    column = np.asarray(values, dtype=np.float64).reshape((-1,) + (1,) * trailing)
    return xp.asarray(column, dtype=like.dtype, device=getattr(like, "device", None))


def by_class(rows: Sequence[Array]) -> list[tuple[slice, list[Array]]]:
    """Return runs of consecutive rows of one class, each with its place on the trial axis."""
    runs, start = [], 0
    for _, run in itertools.groupby(rows, key=type):
        members = list(run)
        runs.append((slice(start, start + len(members)), members))
        start += len(members)
    return runs
