"""A grid of points on a ray or a plane through weight space, row by row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array
from tasks.arrays.devices import block_sizes, host, pieces
from tasks.fused.problem import Problem

# The points of a row that a thread computes at a time. A device computes whole rows.
_PIECE = 64


def along_row(arrays: Array, row: Array, columns: Array, *, count: int | None = None) -> Iterator[Array]:
    """Yield ``arrays[0] + a * arrays[1] + row * arrays[2]`` for ``count`` of the columns ``a`` ``(A,)`` at a time.

    ``row`` is ``(1,)``. ``count`` None is as many as stay in cache.
    """
    xp, shape = array_namespace(arrays), arrays.shape[1:]
    middle, along = arrays[0, ...], arrays[1, ...]
    if arrays.shape[0] == 3:
        middle = middle + row * arrays[2, ...]
    line = xp.stack([xp.reshape(middle, (-1,)), xp.reshape(along, (-1,))])
    # A product writes every number once, and needs no temporary of that size.
    coefficients = xp.stack([xp.ones_like(columns), columns], axis=1)
    count = count or max(1, block_sizes(arrays).numbers // math.prod(shape))
    for part in pieces(columns.shape[0], count):
        some = coefficients[part, ...]
        # A BLAS computes a single row by another routine, which may round otherwise.
        rows = some if some.shape[0] > 1 else xp.concat([some, some])
        yield xp.reshape((rows @ line)[: some.shape[0], ...], (-1, *shape))


def over_grid(problem: Problem, compute: Callable[[Array, Array], Array], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``compute(one of b, columns of a)`` over the grid, ``(B, A)``; the pieces do not depend on the threads.

    A device is given all rows before the first is read: to read one after the other would leave the device idle.
    """
    rows, columns = problem.array(b), problem.array(a)
    of_b = [rows[k : k + 1] for k in range(len(b))]
    of_a = [columns[part] for part in pieces(len(a), _PIECE if is_numpy_array(columns) else len(a))]
    answers = problem.parallel_map(lambda piece: compute(*piece), itertools.product(of_b, of_a))
    return np.concatenate([host(answer) for answer in answers]).reshape(len(b), len(a))
