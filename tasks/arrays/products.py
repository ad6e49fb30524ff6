"""Matrix products of fused units (a trial's rows) whose bits depend neither on the other units nor on the place.

A BLAS computes rows in panels, and how a row is rounded depends on its place in its panel: in OpenBLAS's Haswell
sgemm a panel has 12 rows, and its halves round differently. So every row of a unit has places of one kind, a half
of a panel, which units fill together; what a panel is is probed, not assumed. A trial alone and the same trial in
any group are then equal bit for bit, and ten classes of six trials fill five panels. Where small products go through
kernels of their own, as with AVX-512, a panel has as many rows as take a product past them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array

# A single row is left to another routine. Small products may be too: those with tall panels are not small.
_CANDIDATES = (2, 4, 8, 12, 16, 24, 32, 48, *(96 * 2**k for k in range(7)))
_PROBED_ROWS = 48
_PROBED_ALIKE = 8
_SMALL = 2**21  # multiplications: twice what OpenBLAS leaves to kernels for small products
_DRAWS = 65537  # a prime: no two rows repeat in step


class Panel(NamedTuple):
    """Blocks of ``rows`` rows have the same bits wherever they stand; within them, rows of one ``run`` round alike."""

    rows: int
    run: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the rows of units stand among the ``height`` rows that a product is made of; the others are zero.

    ``places`` ``(U, R)`` holds the place of each row of each unit, ``in_order`` whether they follow one another.
    """

    places: np.ndarray
    height: int
    in_order: bool

    def rows(self, units: Array) -> Array:
        """Return units ``(U, R, X)`` as the rows of a product, ``(height, X)``."""
        if not self.in_order:
            empty = np.empty if self.places.size == self.height else np.zeros
            rows = empty((self.height, units.shape[2]), units.dtype)
            rows[self.places] = units
            return rows
        rows = array_namespace(units).reshape(units, (self.places.size, units.shape[2]))
        return _followed_by_zeros(rows, self.height - self.places.size)

    def owners(self) -> np.ndarray:
        """Return the unit that has each row, ``(height,)``; of rows that nobody has, the first."""
        owners = np.zeros(self.height, dtype=np.int64)
        owners[self.places] = np.arange(len(self.places))[:, None]
        return owners

    def units(self, rows: Array) -> Array:
        """Return the units ``(U, R, ...)`` that stand in rows ``(height, ...)``."""
        if not self.in_order:
            return rows[self.places]
        return array_namespace(rows).reshape(rows[: self.places.size, ...], (*self.places.shape, *rows.shape[1:]))

    def sums(self, parts: Sequence[Array]) -> Array:
        """Return the sum ``(U,)`` over each unit's rows of numbers ``(height,)``, which are given in parts."""
        xp = array_namespace(*parts)
        return xp.sum(self.units(xp.concat(list(parts))), axis=-1)


def product(rows: Array, factor: Array) -> Array:
    """Return ``rows @ factor``, rounded by the places of the rows alone: ``(H, I)`` and ``(I, X)`` give ``(H, X)``."""
    if factor.shape[1] > 1:
        return rows @ factor
    # A product with one column is left to another routine, which rounds otherwise: give it a second column.
    xp = array_namespace(factor)
    return (rows @ xp.concat([factor, xp.zeros_like(factor)], axis=1))[:, :1]


def scores_of_units(units: Array, features: Array) -> Array:
    """Return ``units @ features.T``: ``(U, R, D)`` and ``(N, D)`` give ``(U, R, N)``."""
    count, rows, _ = units.shape
    layout = layout_of(count, rows, _panel_of_scores(units, *features.shape))
    return layout.units(product(layout.rows(units), features.T))


def scores_of_blocks(blocks: Array, features: Array) -> Array:
    """Return ``blocks @ features.T`` with every row in its place: ``(J, R, D)`` and ``(N, D)`` give ``(J, R, N)``.

    A row's bits depend on its place in its block, modulo the rows of a panel, and not on how many follow.
    """
    count, rows, inner = blocks.shape
    panel = _panel_of_scores(blocks, *features.shape)
    lacking = -rows % panel.rows if panel else 0
    if lacking:
        xp = array_namespace(blocks)
        blocks = xp.concat([blocks, _zeros((count, lacking, inner), blocks)], axis=1)
    layout = layout_of(count, rows + lacking, panel)
    return layout.units(product(layout.rows(blocks), features.T))[:, :rows, :]


def alignment(rows: int, dtype: str, examples: int, features: int) -> int:
    """Return how many members of ``rows`` rows fill whole panels: where a member may start in a block."""
    panel = panel_of(dtype, max(2, examples), features)
    return panel.rows // math.gcd(panel.rows, rows) if panel else 1


def panel_of_descent(like: Array, examples: Iterable[int], features: int) -> Panel | None:
    """Return the panel of the scores and of the gradients of blocks of so many ``examples``: one that is each's.

    Where theirs differ, it is of their least common height and of runs that divide theirs: it may leave places empty.
    """
    if not is_numpy_array(like):
        return None
    dtype, panels = like.dtype.name, []
    for count in examples:
        panels += [_panel_of_scores(like, count, features), panel_of(dtype, count, features, transposed=False)]
    known = [panel for panel in panels if panel]
    if len(known) < len(panels):
        return None
    height = math.lcm(*(panel.rows for panel in known))
    # In a panel of one run all rows round alike, and so they do in several of them.
    return Panel(height, math.gcd(height, *(panel.run for panel in known if panel.run < panel.rows)))


def _panel_of_scores(like: Array, examples: int, features: int) -> Panel | None:
    """Return the panel of products with the transpose of features ``(N, D)``; nothing is known of a device's."""
    # A product with one column gets a second.
    return panel_of(like.dtype.name, max(2, examples), features) if is_numpy_array(like) else None


@functools.cache
def layout_of(units: int, rows: int, panel: Panel | None) -> Layout:
    """Return the layout of units of ``rows`` rows in panels."""
    if panel is None or rows % panel.rows == 0:
        places, height = np.arange(units * rows).reshape(units, rows), units * rows
    else:
        places, height = places_in_panels(units, rows, panel)
    return Layout(places=places, height=height, in_order=bool((places.ravel() == np.arange(places.size)).all()))


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
    candidate up to 6144 rows will do: then bits hold only for the same rows laid out the same way.
    """
    # Repeated draws do as well as fresh ones, which would take longer than the products.
    draws = np.random.default_rng(231).standard_normal(_DRAWS).astype(dtype)
    matrix = np.resize(draws, (examples, features))
    factor = matrix.T if transposed else matrix
    # Past the small products, a panel need not be taller.
    heights = [height for height in _CANDIDATES if height <= _PROBED_ROWS or height * factor.size <= _SMALL]
    rows = np.resize(draws[::-1], (2 * heights[-1], factor.shape[0]))
    height = next((height for height in heights if _holds(height, rows, factor)), None)
    return None if height is None else Panel(height, _run(height, rows, factor))


def _holds(height: int, rows: np.ndarray, factor: np.ndarray) -> bool:
    """Return whether blocks of ``height`` rows have the same bits alone as repeated and among others."""
    block, alone = rows[:height], rows[:height] @ factor
    for count in _counts(height, factor.size):
        if not np.array_equal(np.tile(block, (count, 1)) @ factor, np.tile(alone, (count, 1))):
            return False
    # Many blocks, since two orders of a short sum round alike more often than not.
    count = max(2, _PROBED_ROWS // height)
    together = rows[: count * height] @ factor
    return all(
        np.array_equal(rows[start : start + height] @ factor, together[start : start + height])
        for start in range(0, count * height, height)
    )


def _counts(height: int, multiplications: int) -> list[int]:
    """Return which numbers of blocks are tried, where a row takes so many multiplications.

    All of a few, since what is left over after whole panels goes through other kernels; then ever more, up to one
    that is no small product, or of 6144 rows.
    """
    few = range(2, max(2, _PROBED_ROWS // height) + 1)
    most = min(_SMALL // multiplications, _CANDIDATES[-1]) // height
    return [*few, *(count for k in range(1, most.bit_length() + 1) for count in (2**k, 2**k + 1) if count not in few)]


def _run(height: int, rows: np.ndarray, factor: np.ndarray) -> int:
    """Return the longest run, a divisor of a panel's height, whose places all give a row the same bits."""
    products = [np.tile(row, (height, 1)) @ factor for row in rows[:_PROBED_ALIKE]]
    return next(
        run
        for run in range(height, 0, -1)
        if height % run == 0 and all(np.array_equal(np.repeat(p[::run], run, axis=0), p) for p in products)
    )


def _followed_by_zeros(rows: Array, lacking: int) -> Array:
    return array_namespace(rows).concat([rows, _zeros((lacking, rows.shape[1]), rows)], axis=0) if lacking else rows


def _zeros(shape: tuple[int, ...], like: Array) -> Array:
    return array_namespace(like).zeros(shape, dtype=like.dtype, device=getattr(like, "device", None))
