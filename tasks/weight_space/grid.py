"""A grid of points on a ray or a plane through weight space, a row of it at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array
from tasks.arrays.devices import at_once, host, pieces, placed
from tasks.fused.problem import Problem

# Points of a row that are one piece of work for a thread. A device takes whole rows.
_PIECE = 64


def along_row(arrays: Array, row: float, columns: np.ndarray, *, count: int | None = None) -> Iterator[Array]:
    """Yield ``arrays[0] + a * arrays[1] + row * arrays[2]`` for some columns ``a`` at a time.

    They are ``count``; None: as many as stay in cache.
    """
    xp, shape = array_namespace(arrays), arrays.shape[1:]
    middle, along = arrays[0, ...], arrays[1, ...]
    if arrays.shape[0] == 3:
        middle = middle + placed([row], arrays, dtype=arrays.dtype) * arrays[2, ...]
    line = xp.stack([xp.reshape(middle, (-1,)), xp.reshape(along, (-1,))])
    # As a product every number is written once, and nothing else of its size is.
    coefficients = placed(np.stack([np.ones_like(columns), columns], axis=1), arrays, dtype=arrays.dtype)
    count = count or max(1, at_once(arrays).numbers // math.prod(shape))
    for part in pieces(len(columns), count):
        yield xp.reshape(coefficients[part, ...] @ line, (-1, *shape))


def over_grid(problem: Problem, compute: Any, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return ``compute(b, some a)`` over the grid, ``(B, A)``: the pieces are shared out, whoever computes them."""
    of_a_row = [a[part] for part in pieces(len(a), _PIECE if is_numpy_array(problem.like) else len(a))]
    answers = problem.in_order(lambda piece: host(compute(*piece)), itertools.product(b.tolist(), of_a_row))
    return np.concatenate(answers).reshape(len(b), len(a))
