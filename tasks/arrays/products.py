"""Matrix products of fused units (a trial's rows): a unit's bits depend neither on the other units nor on its place.

A BLAS computes rows in panels, and the place of a row in its panel decides how it is rounded: a panel of OpenBLAS's
Haswell sgemm has 12 rows, and its two halves round differently. So each row of a unit always gets a place in the
same half, and several units fill a panel together; the panel is probed, not assumed. A trial alone and the same trial
in any group are then equal bit for bit, and the ten classes of six trials fill five panels. Where small products go
through kernels of their own, as with AVX-512, a panel is tall enough that a product of one is no longer small.
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

# The panel heights that are probed. A BLAS may compute a single row, and small products, by other routines: a tall
# panel makes a product too large for these.
_HEIGHTS = (2, 4, 8, 12, 16, 24, 32, 48, *(96 * 2**k for k in range(8)))
_PROBED_ROWS = 48
_MOST_ROWS = 6144  # in a probe of repeated blocks: only rows of very few multiplications need a taller panel
_PROBED_ALIKE = 8
_SMALL = 2**21  # multiplications: twice the largest product that OpenBLAS computes by kernels for small ones
_DRAWS = 65537  # a prime: resizing the draws to a matrix makes no two rows equal
_TILES = 192  # columns: a multiple of those that any kernel computes at once


class Panel(NamedTuple):
    """A block of ``rows`` rows has the same bits at any multiple of ``rows``; ``run`` rows in sequence round alike."""

    rows: int
    run: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLayout:
    """The places of units' rows among the ``height`` rows of a product, which is padded with zero rows.

    ``places`` ``(U, R)`` holds the place of each row of each unit; ``contiguous`` says that the places are 0, 1, 2, ...
    """

    places: np.ndarray
    height: int
    contiguous: bool

    def rows(self, units: Array) -> Array:
        """Return units ``(U, R, X)`` as the rows of a product, ``(height, X)``."""
        if not self.contiguous:
            empty = np.empty if self.places.size == self.height else np.zeros
            rows = empty((self.height, units.shape[2]), units.dtype)
            rows[self.places] = units
            return rows
        rows = array_namespace(units).reshape(units, (self.places.size, units.shape[2]))
        return _padded(rows, self.height - self.places.size, axis=0)

    def owners(self) -> np.ndarray:
        """Return the number of the unit that each row belongs to, ``(height,)``; 0 for padding."""
        owners = np.zeros(self.height, dtype=np.int64)
        owners[self.places] = np.arange(len(self.places))[:, None]
        return owners

    def units(self, rows: Array) -> Array:
        """Return the units ``(U, R, ...)`` of rows ``(height, ...)``: the inverse of `rows`."""
        if not self.contiguous:
            return rows[self.places]
        return array_namespace(rows).reshape(rows[: self.places.size, ...], (*self.places.shape, *rows.shape[1:]))

    def sums(self, parts: Sequence[Array]) -> Array:
        """Return the sum ``(U,)`` of a number a row over each unit's rows; ``parts`` concatenate to ``(height,)``."""
        xp = array_namespace(*parts)
        return xp.sum(self.units(xp.concat(list(parts))), axis=-1)


def product(rows: Array, factor: Array) -> Array:
    """Return ``rows @ factor``, ``(H, I) @ (I, X)``; only the places of the rows decide how it is rounded."""
    if factor.shape[1] > 1:
        return rows @ factor
    # A BLAS passes a product with one column to another routine, which rounds differently: pad it to two.
    xp = array_namespace(factor)
    return (rows @ xp.concat([factor, xp.zeros_like(factor)], axis=1))[:, :1]


def scores_of_units(units: Array, features: Array) -> Array:
    """Return ``units @ features.T``: ``(U, R, D)`` and ``(N, D)`` give ``(U, R, N)``."""
    count, rows, _ = units.shape
    layout = layout_of(count, rows, _panel_of_scores(units, *features.shape))
    return layout.units(product(layout.rows(units), features.T))


def scores_of_blocks(blocks: Array, features: Array) -> Array:
    """Return ``blocks @ features.T`` for dense blocks: ``(J, R, D)`` and ``(N, D)`` give ``(J, R, N)``.

    A row's bits depend on its place in its block, modulo the rows of a panel, and not on the rows after it.
    """
    count, rows, _ = blocks.shape
    panel = _panel_of_scores(blocks, *features.shape)
    padding = -rows % panel.rows if panel else 0
    layout = layout_of(count, rows + padding, panel)
    return layout.units(product(layout.rows(_padded(blocks, padding, axis=1)), features.T))[:, :rows, :]


def alignment(rows: int, dtype: str, examples: int, features: int) -> int:
    """Return how many members of ``rows`` rows fill whole panels: members start blocks at multiples of that."""
    panel = panel_of(dtype, max(2, examples), features)
    return panel.rows // math.gcd(panel.rows, rows) if panel else 1


def most_aligned(rows: int, examples: int, features: int) -> int:
    """Return the most that `alignment` may be with any BLAS, without a probe.

    >>> most_aligned(10, 2048, 3073)
    24
    """
    tallest: int = max(_PROBED_ROWS, min(_HEIGHTS[-1], _SMALL // max(1, examples * features)))
    return tallest // math.gcd(16, rows)  # 16 divides each panel of 48 rows or more; a shorter one needs no more


def panel_of_descent(like: Array, examples: Iterable[int], features: int) -> Panel | None:
    """Return one panel that serves the scores and the gradients of blocks of each size in ``examples``.

    If these need different panels, its height is their least common multiple and its run divides theirs: more padding.
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
    # A panel of a single run puts no limit on the run: all its rows round alike.
    return Panel(height, math.gcd(height, *(panel.run for panel in known if panel.run < panel.rows)))


def _panel_of_scores(like: Array, examples: int, features: int) -> Panel | None:
    """Return the panel of products with the transpose of features ``(N, D)``; None on a device, which is not probed."""
    # A product with one column is padded to two.
    return panel_of(like.dtype.name, max(2, examples), features) if is_numpy_array(like) else None


@functools.cache
def layout_of(units: int, rows: int, panel: Panel | None) -> RowLayout:
    """Return the layout of units of ``rows`` rows in panels."""
    if panel is None or rows % panel.rows == 0:
        places, height = np.arange(units * rows).reshape(units, rows), units * rows
    else:
        places, height = places_in_panels(units, rows, panel)
    return RowLayout(places=places, height=height, contiguous=bool((places.ravel() == np.arange(places.size)).all()))


def places_in_panels(units: int, rows: int, panel: Panel) -> tuple[np.ndarray, int]:
    """Return the place of each row of each unit in a product, ``(units, rows)``, and the height of the product.

    A unit's first rows are in the first runs of panels, its next ones in the second runs, and so on.

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

    It is probed once a process and shape, with the BLAS and the number of threads in use. None where no height up to
    12288 rows passes the probe: then bits are equal only for the same rows in the same layout.
    """
    # Repeated draws serve as well as new ones, which would take longer than the products.
    draws = np.random.default_rng(231).standard_normal(_DRAWS).astype(dtype)
    matrix = np.resize(draws, (examples, features))
    factor = matrix.T if transposed else matrix
    # A BLAS first copies the whole factor, in each of some sixty products.
    narrow = factor[:, : _probed_columns(*factor.shape)]
    # A product that is not small needs no taller panel.
    heights = [height for height in _HEIGHTS if height <= _PROBED_ROWS or height * factor.size <= _SMALL]
    rows = np.resize(draws[::-1], (2 * heights[-1], factor.shape[0]))
    for height in heights:
        if _holds(height, rows, narrow) and _repeats(height, _counts(height, factor.size)[-2:], rows, factor):
            return Panel(height, _run(height, rows, narrow))
    return None


def _probed_columns(inner: int, columns: int) -> int:
    """Return how many columns of a factor to probe: the fewest for which a product of two rows is not small.

    The last of them are at the same place of a tile as the factor's last.

    >>> _probed_columns(3073, 10000)
    400
    """
    least = _TILES * -(-_SMALL // (2 * inner * _TILES))
    return min(columns, least + columns % _TILES)


def _holds(height: int, rows: np.ndarray, factor: np.ndarray) -> bool:
    """Return whether blocks of ``height`` rows have the same bits alone as repeated and among others."""
    if not _repeats(height, _counts(height, factor.size), rows, factor):
        return False
    # Many blocks: two orders of summation of a short sum often round alike.
    count = max(2, _PROBED_ROWS // height)
    together = rows[: count * height] @ factor
    return all(
        np.array_equal(rows[start : start + height] @ factor, together[start : start + height])
        for start in range(0, count * height, height)
    )


def _repeats(height: int, counts: Sequence[int], rows: np.ndarray, factor: np.ndarray) -> bool:
    """Return whether a block of ``height`` rows has the same bits alone as among so many that are equal."""
    block, alone = rows[:height], rows[:height] @ factor
    return all(np.array_equal(np.tile(block, (n, 1)) @ factor, np.tile(alone, (n, 1))) for n in counts)


def _counts(height: int, multiplications: int) -> list[int]:
    """Return the numbers of blocks to probe; ``multiplications`` are those of a row.

    First every small number, since other kernels compute the rows after the last whole panel; then powers of two and
    their successors, up to a product that is not small or has 6144 rows.
    """
    few = range(2, max(2, _PROBED_ROWS // height) + 1)
    most = min(_SMALL // multiplications, _MOST_ROWS) // height
    return [*few, *(count for k in range(1, most.bit_length() + 1) for count in (2**k, 2**k + 1) if count not in few)]


def _run(height: int, rows: np.ndarray, factor: np.ndarray) -> int:
    """Return the longest run, a divisor of a panel's height, in which a row gets the same bits at every place."""
    products = [np.tile(row, (height, 1)) @ factor for row in rows[:_PROBED_ALIKE]]
    return next(
        run
        for run in range(height, 0, -1)
        if height % run == 0 and all(np.array_equal(np.repeat(p[::run], run, axis=0), p) for p in products)
    )


def _padded(array: Array, count: int, *, axis: int) -> Array:
    """Return an array with ``count`` zeros after its last entries along an axis."""
    if not count:
        return array
    xp, shape = array_namespace(array), (*array.shape[:axis], count, *array.shape[axis + 1 :])
    return xp.concat([array, xp.zeros(shape, dtype=array.dtype, device=array.device)], axis=axis)
