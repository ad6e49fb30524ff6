"""Blocks of steps whose candidates are one product, aligned to the panels of the product."""

from __future__ import annotations

import math
from collections.abc import Iterator

from array_api_compat import is_numpy_array

from tasks.arrays.devices import block_sizes, pieces
from tasks.fused.problem import Problem
from tasks.models.model import ScoreLinear
from tasks.weight_space.perturbations import Perturbations, perturbations


def aligned_perturbations(problem: Problem, numbers: range) -> Perturbations:
    """Return the unit perturbations of some steps; a step's number alone decides its place in a panel."""
    return perturbations(problem, numbers, first=numbers.start % _alignment(problem))


def blocks_of_steps(problem: Problem, start: int, stop: int, *, largest: int) -> Iterator[range]:
    """Yield the steps from ``start`` to ``stop`` in equal blocks of at most ``largest`` that begin at whole panels.

    A device gets a small block first: while it computes, the host draws the next.
    """
    if not is_numpy_array(problem.like) and stop - start > largest:
        begun = start + max(1, largest // 8)
        yield range(start, begun)
        start = begun
    aligned = _alignment(problem)
    whole = stop - start + start % aligned
    count = -(-whole // (max(1, largest // aligned) * aligned))
    size = -(-whole // (count * aligned)) * aligned
    while start < stop:
        end = min(start - start % aligned + size, stop)
        yield range(start, end)
        start = end


def _alignment(problem: Problem) -> int:
    if not is_numpy_array(problem.like):
        return 1  # a device's panels are not probed
    model, dataset = problem.model, problem.dataset
    assert isinstance(model, ScoreLinear)
    given, dtype = (dataset.image_shape, len(dataset.classes)), problem.like.dtype.name
    # The last block of examples may be so small that its products have other panels.
    sizes = {part.stop - part.start for part in pieces(len(dataset.train), block_sizes(problem.like).examples)}
    return math.lcm(*(model.alignment(*given, examples, dtype=dtype) for examples in sizes))
