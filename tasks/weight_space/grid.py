"""A grid of points on a ray or a plane through weight space, row by row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array
from tasks.arrays.devices import block_sizes, device_put, host, pieces
from tasks.fused.problem import Problem

# The points of a row that a thread computes at a time. A device computes whole rows.
_PIECE = 64


def along_row(arrays: Array, row: float, columns: np.ndarray, *, count: int | None = None) -> Iterator[Array]:
    """Yield ``arrays[0] + a * arrays[1] + row * arrays[2]`` for ``count`` columns ``a`` at a time.

    ``count`` None is as many as stay in cache.
    """
    xp, shape = array_namespace(arrays), arrays.shape[1:]
    middle, along = arrays[0, ...], arrays[1, ...]
    if arrays.shape[0] == 3:
        middle = middle + device_put([row], arrays, dtype=arrays.dtype) * arrays[2, ...]
    line = xp.stack([xp.reshape(middle, (-1,)), xp.reshape(along, (-1,))])
    # A product writes every number once, and needs no temporary of that size.
    coefficients = device_put(np.stack([np.ones_like(columns), columns], axis=1), arrays, dtype=arrays.dtype)
    count = count or max(1, block_sizes(arrays).numbers // math.prod(shape))
    for part in pieces(len(columns), count):
        yield xp.reshape(coefficients[part, ...] @ line, (-1, *shape))


def over_grid(problem: Problem, compute: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``compute(b, columns of a)`` over the grid, ``(B, A)``; the pieces do not depend on the threads."""
    of_a_row = [a[part] for part in pieces(len(a), _PIECE if is_numpy_array(problem.like) else len(a))]
    answers = problem.parallel_map(lambda piece: host(compute(*piece)), itertools.product(b.tolist(), of_a_row))
    return np.concatenate(answers).reshape(len(b), len(a))
