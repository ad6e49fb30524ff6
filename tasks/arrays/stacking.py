"""Stacking: rows of many trials become one row whose hyperparameters are arrays over the trial axis."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array

# A class, and the names and texts of the fields that are no numbers.
Form = tuple[Any, ...]


def stack(rows: Sequence[Any], *, like: Array, trailing: int) -> Any:
    """Return one row of the rows' form, each number ``(K,)`` followed by ``trailing`` axes of length 1.

    The numbers are of the library, precision and device of ``like``. The rows were validated when they were built, so
    the stacked one is not validated again.
    """
    kind = type(rows[0])
    assert all(type(row) is kind for row in rows), "only rows of one form stack"
    stacked = object.__new__(kind)
    for field in dataclasses.fields(kind):
        column = [getattr(row, field.name) for row in rows]
        if all(map(_is_number, set(map(type, column)))):
            value = per_trial(column, like=like, trailing=trailing)
        else:
            assert len(set(map(repr, column))) == 1, "only rows of one form stack"
            value = column[0]
        object.__setattr__(stacked, field.name, value)
    return stacked


def form(row: Any) -> Form:
    """Return what rows must have in common to be stacked: their class, and the fields that are no numbers.

    >>> from tasks.losses import Svm
    >>> form(Svm(margin=2.0)) == form(Svm(margin=3.0)) == (Svm,)
    True
    """
    values = [(field.name, getattr(row, field.name)) for field in dataclasses.fields(row)]
    return type(row), *((name, repr(value)) for name, value in values if not _is_number(type(value)))


def _is_number(kind: type) -> bool:
    return issubclass(kind, int | float) and kind is not bool


def per_trial(values: Sequence[float], *, like: Array, trailing: int) -> Array:
    """Return numbers as an array ``(K,)`` followed by ``trailing`` axes of length 1."""
    xp = array_namespace(like)
    column = np.asarray(values, dtype=np.float64).reshape((-1,) + (1,) * trailing)
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and its trial diverges
        return xp.asarray(column, dtype=like.dtype, device=like.device)


def by_form(rows: Sequence[Any]) -> list[tuple[slice, list[Any]]]:
    """Return runs of consecutive rows of one form, each with its place on the trial axis."""
    # A descent repeats a trial for each row of its weights: one object, whose form is computed once.
    forms = {number: form(row) for number, row in {id(row): row for row in rows}.items()}
    return _runs(rows, lambda row: forms[id(row)])


def by_value(rows: Sequence[Any]) -> list[tuple[slice, list[Any]]]:
    """Return runs of consecutive equal rows, each with its place on the trial axis."""
    return _runs(rows, lambda row: row)


def concatenated(parts: Sequence[Array]) -> Array:
    """Return what was computed for each run of trials as one array, the trial axis first."""
    return parts[0] if len(parts) == 1 else array_namespace(*parts).concat(list(parts), axis=0)


def _runs(rows: Sequence[Any], key: Callable[[Any], object]) -> list[tuple[slice, list[Any]]]:
    runs, start = [], 0
    for _, run in itertools.groupby(rows, key=key):
        members = list(run)
        runs.append((slice(start, start + len(members)), members))
        start += len(members)
    return runs
