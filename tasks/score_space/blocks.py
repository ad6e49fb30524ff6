"""Blocks of steps whose candidates are one product, aligned to the panels of the product, and their perturbations."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from array_api_compat import is_numpy_array

from tasks.arrays.devices import pieces
from tasks.fused.problem import Problem
from tasks.models.model import ScoreLinear
from tasks.weight_space.perturbations import Perturbations, perturbations


def drawn_blocks(problem: Problem, start: int, stop: int, *, largest: int) -> Iterator[tuple[range, Perturbations]]:
    """Yield the steps from ``start`` to ``stop`` in blocks of at most ``largest``, with their unit perturbations.

    A step's number alone decides its place in a panel. While a device computes, the host draws the next block.
    """

    def draw(numbers: range) -> tuple[range, Perturbations]:
        return numbers, perturbations(problem, numbers, first=numbers.start % _alignment(problem))

    blocks = _blocks_of_steps(problem, start, stop, largest=largest)
    if is_numpy_array(problem.like):
        yield from map(draw, blocks)
        return
    with ThreadPoolExecutor(1) as ahead:
        waiting: deque[Future[tuple[range, Perturbations]]] = deque()
        for numbers in blocks:
            waiting.append(ahead.submit(draw, numbers))
            if len(waiting) == 2:
                yield waiting.popleft().result()
        yield from (drawn.result() for drawn in waiting)


def _blocks_of_steps(problem: Problem, start: int, stop: int, *, largest: int) -> Iterator[range]:
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
    sizes = {part.stop - part.start for part in pieces(len(dataset.train), problem.block)}
    return math.lcm(*(model.alignment(*given, examples, dtype=dtype) for examples in sizes))
