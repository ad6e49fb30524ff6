"""Matrix products of fused units (a trial's rows) whose bits depend neither on the other units nor on the place.

A BLAS computes rows in panels, and how a row is rounded depends on its place in its panel: in OpenBLAS's Haswell
sgemm a panel has 12 rows, and its halves round differently. So every row of a unit has places of one kind, a half
of a panel, which units fill together; what a panel is is probed, not assumed. A trial alone and the same trial in
any group are then equal bit for bit, and ten classes of six trials fill five panels.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

_CANDIDATES = (2, 4, 8, 12, 16, 24, 32, 48)  # a single row is left to another routine
_PROBED_ROWS = 96
_PROBED_ALIKE = 8
_DRAWS = 65537  # a prime: no two rows repeat in step


class Panel(NamedTuple):
    """Blocks of ``rows`` rows have the same bits wherever they stand; within them, rows of one ``run`` round alike."""

    rows: int
    run: int


def scores_of_units(units: Any, features: Any, *, at_least: int = 0) -> Any:
    """Return ``units @ features.T``: ``(U, R, D)`` and ``(N, D)`` give ``(U, R, N)``.

    The product is laid out for at least ``at_least`` units.
    """
    return _product(units, features, transposed=True, at_least=at_least)


def scores_of_blocks(blocks: Any, features: Any) -> Any:
    """Return ``blocks @ features.T`` with every row in its place: ``(J, R, D)`` and ``(N, D)`` give ``(J, R, N)``.

    A row's bits depend on its place in its block, modulo the rows of a panel, and not on how many follow.
    """
    count, rows, inner = blocks.shape
    panel = _panel(blocks, features, transposed=True)
    lacking = -rows % panel.rows if panel else 0
    if lacking:
        blocks = array_namespace(blocks).concat([blocks, _zeros((count, lacking, inner), blocks)], axis=1)
    return _product(blocks, features, transposed=True, at_least=0)[:, :rows, :]


def combinations_of_units(units: Any, features: Any, *, at_least: int = 0) -> Any:
    """Return ``units @ features``: ``(U, R, N)`` and ``(N, D)`` give ``(U, R, D)``."""
    return _product(units, features, transposed=False, at_least=at_least)


def alignment(rows: int, dtype: str, examples: int, features: int) -> int:
    """Return how many members of ``rows`` rows fill whole panels: where a member may start in a block."""
    panel = panel_of(dtype, max(2, examples), features)
    return panel.rows // math.gcd(panel.rows, rows) if panel else 1


def _product(units: Any, features: Any, *, transposed: bool, at_least: int) -> Any:
    xp = array_namespace(units, features)
    count, rows, inner = units.shape
    factor = features.T if transposed else features
    if factor.shape[1] == 1:
        # A product with one column is left to another routine, which rounds by place: give it a second column.
        factor = xp.concat([factor, _zeros(factor.shape, factor)], axis=1)
    panel = _panel(units, features, transposed=transposed)
    if panel is None or rows % panel.rows == 0:
        if at_least > count:
            units = xp.concat([units, _zeros((at_least - count, rows, inner), units)], axis=0)
        product = xp.reshape(xp.reshape(units, (-1, inner)) @ factor, (-1, rows, factor.shape[1]))[:count, ...]
    else:
        places, height = places_in_panels(max(count, at_least), rows, panel)
        places = places[:count]
        full = places.size == height
        laid = (np.empty if full else np.zeros)((height, inner), dtype=units.dtype)
        laid[places] = units
        product = (laid @ factor)[places]
    return product[..., : features.shape[0 if transposed else 1]]


def _panel(units: Any, features: Any, *, transposed: bool) -> Panel | None:
    """Return the panel of a product with features ``(N, D)``; nothing is known of a device's."""
    if not is_numpy_array(units):
        return None
    examples, width = features.shape
    # A product with one column gets a second.
    return panel_of(units.dtype.name, max(2, examples) if transposed else examples, width, transposed=transposed)


@functools.cache
def places_in_panels(units: int, rows: int, panel: Panel) -> tuple[np.ndarray, int]:
    """Return the row of a product that each row of each unit takes, ``(units, rows)``, and how many the product has.

    A unit's first rows go to the first run of some panels, its next ones to the second run, and so on.

    >>> places_in_panels(2, 3, Panel(rows=4, run=2))[0].tolist()
    [[0, 1, 2], [4, 5, 6]]
    """
    runs = panel.rows // panel.run
    each = -(-rows // runs)
    run, turn = np.divmod(np.arange(rows), each)
    number, place = np.divmod(np.arange(units)[:, None] * each + turn, panel.run)
    return number * panel.rows + run * panel.run + place, -(-units * each // panel.run) * panel.rows


@functools.cache
def panel_of(dtype: str, examples: int, features: int, *, transposed: bool = True) -> Panel | None:
    """Return the panel of products with ``features (examples, features)``.

    Probed once a process for that shape, with the BLAS and the number of threads that are in force. None where no
    candidate up to 48 rows will do: then bits hold only for the same rows laid out the same way.
    """
    # Repeated draws do as well as fresh ones, which would take longer than the products.
    draws = np.random.default_rng(231).standard_normal(_DRAWS).astype(dtype)
    matrix = np.resize(draws, (examples, features))
    factor = matrix.T if transposed else matrix
    rows = np.resize(draws[::-1], (_PROBED_ROWS, factor.shape[0]))
    height = next((height for height in _CANDIDATES if _holds(height, rows, factor)), None)
    return None if height is None else Panel(height, _run(height, rows, factor))


def _holds(height: int, rows: np.ndarray, factor: np.ndarray) -> bool:
    """Return whether the first block of ``height`` rows has the same bits alone, repeated and among others."""
    block, alone = rows[:height], rows[:height] @ factor
    for count in range(2, _PROBED_ROWS // height + 1):
        # Every number of blocks is tried: what is left over after whole panels goes through other kernels.
        if not np.array_equal(np.tile(block, (count, 1)) @ factor, np.tile(alone, (count, 1))):
            return False
    among_others = np.concatenate([rows[height:], block]) @ factor
    return np.array_equal(among_others[-height:], alone)


def _run(height: int, rows: np.ndarray, factor: np.ndarray) -> int:
    """Return the longest run, a divisor of a panel's height, whose places all give a row the same bits."""
    products = [np.tile(row, (height, 1)) @ factor for row in rows[:_PROBED_ALIKE]]
    return next(
        run
        for run in range(height, 0, -1)
        if height % run == 0 and all(np.array_equal(np.repeat(p[::run], run, axis=0), p) for p in products)
    )


def _zeros(shape: tuple[int, ...], like: Any) -> Any:
    return array_namespace(like).zeros(shape, dtype=like.dtype, device=getattr(like, "device", None))
