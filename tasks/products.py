"""Matrix products of fused units (a trial's rows) whose bits depend neither on the other units nor on the place.

A BLAS computes rows in panels, and how a row is rounded depends on its place in its panel (in OpenBLAS's
Haswell sgemm the panel has 12 rows, and its halves round differently). So every unit starts on a panel of
its own: its rows are padded with zeros to a multiple of the panel, the *quantum*, which is probed, not assumed.
A trial alone and the same trial in any group are then equal bit for bit.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

_CANDIDATES = (1, 2, 4, 8, 12, 16, 24, 32, 48)
_PROBED_ROWS = 96
_DRAWS = 65537  # a prime: no two rows repeat in step


def scores_of_units(units: Any, features: Any, *, at_least: int = 0) -> Any:
    """Return ``units @ features.T``: ``(U, R, D)`` and ``(N, D)`` give ``(U, R, N)``.

    The product is laid out for at least ``at_least`` units.
    """
    return _product(units, features, transposed=True, at_least=at_least)


def combinations_of_units(units: Any, features: Any, *, at_least: int = 0) -> Any:
    """Return ``units @ features``: ``(U, R, N)`` and ``(N, D)`` give ``(U, R, D)``."""
    return _product(units, features, transposed=False, at_least=at_least)


def with_room(units: Any, examples: int) -> Any:
    """Return a copy of units ``(U, R, D)`` that lies in whole panels, as products with ``examples`` want it.

    Only products of the copy itself profit: arrays made from it are laid out as any other.
    """
    xp = array_namespace(units)
    count, rows, inner = units.shape
    padded = _padded(units, examples, inner)
    if padded == rows:
        return xp.asarray(units, copy=True)
    room = _zeros((count, padded, inner), units)
    room[:, :rows, :] = units
    return room[:, :rows, :]


def alignment(rows: int, dtype: str, examples: int, features: int) -> int:
    """Return how many members of ``rows`` rows fill whole panels: where a member may start inside a unit."""
    quantum = row_quantum(dtype, max(2, examples), features) or 1
    return quantum // math.gcd(quantum, rows)


def _product(units: Any, features: Any, *, transposed: bool, at_least: int) -> Any:
    xp = array_namespace(units, features)
    count, rows, inner = units.shape
    padded = _padded(units, features.shape[0], features.shape[1], transposed=transposed)
    if padded > rows:
        units = _in_panels(units, padded)
    if at_least > count:
        units = xp.concat([units, _zeros((at_least - count, padded, inner), units)], axis=0)
    factor = features.T if transposed else features
    if factor.shape[1] == 1:
        # A product with one column is left to another routine, which rounds by place: give it a second column.
        factor = xp.concat([factor, _zeros(factor.shape, factor)], axis=1)
    product = xp.reshape(xp.reshape(units, (-1, inner)) @ factor, (-1, padded, factor.shape[1]))
    return product[:count, :rows, : features.shape[0 if transposed else 1]]


def _in_panels(units: Any, padded: int) -> Any:
    """Return units ``(U, R, D)`` with zeros after their rows, ``(U, padded, D)``: the room around them, or a copy."""
    count, rows, inner = units.shape
    room = getattr(units, "base", None)
    if isinstance(room, np.ndarray) and room.shape == (count, padded, inner) and room.dtype == units.dtype:
        starts = [array.__array_interface__["data"][0] for array in (room, units)]
        if starts[0] == starts[1] and room.strides == units.strides:
            return room
    return array_namespace(units).concat([units, _zeros((count, padded - rows, inner), units)], axis=1)


def _padded(units: Any, examples: int, features: int, *, transposed: bool = True) -> int:
    """Return how many rows the whole panels have that hold a unit's rows; nothing is known of a device's panels."""
    rows = int(units.shape[1])
    if not is_numpy_array(units):
        return rows
    # A product with one column gets a second.
    columns = max(2, examples) if transposed else examples
    quantum = row_quantum(units.dtype.name, columns, features, transposed=transposed) or 1
    return -(-rows // quantum) * quantum


@functools.cache
def row_quantum(dtype: str, examples: int, features: int, *, transposed: bool = True) -> int | None:
    """Return the rows of a panel: blocks of this many rows have the same bits wherever they stand.

    Probed once a process for the shape ``features (examples, features)``, with the BLAS and the number of
    threads that are in force. None where no candidate up to 48 rows will do: then bits hold only for the
    same rows laid out the same way.
    """
    # Repeated draws do as well as fresh ones, which would take longer than the products.
    draws = np.random.default_rng(231).standard_normal(_DRAWS).astype(dtype)
    matrix = np.resize(draws, (examples, features))
    factor = matrix.T if transposed else matrix
    rows = np.resize(draws[::-1], (_PROBED_ROWS, factor.shape[0]))
    return next((quantum for quantum in _CANDIDATES if _holds(quantum, rows, factor)), None)


def _holds(quantum: int, rows: np.ndarray, factor: np.ndarray) -> bool:
    """Return whether the first block of ``quantum`` rows has the same bits alone, repeated and among others."""
    block, alone = rows[:quantum], rows[:quantum] @ factor
    for count in range(2, _PROBED_ROWS // quantum + 1):
        # Every number of blocks is tried: what is left over after whole panels goes through other kernels.
        if not np.array_equal(np.tile(block, (count, 1)) @ factor, np.tile(alone, (count, 1))):
            return False
    among_others = np.concatenate([rows[quantum:], block]) @ factor
    return np.array_equal(among_others[-quantum:], alone)


def _zeros(shape: tuple[int, ...], like: Any) -> Any:
    return array_namespace(like).zeros(shape, dtype=like.dtype, device=getattr(like, "device", None))
