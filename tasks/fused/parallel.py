"""Computes blocks on several threads, and adds their results in order: the same bits on any number of threads."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tasks.arrays.array import Array

Item = TypeVar("Item")
Mapped = TypeVar("Mapped")


def total(parts: Sequence[Array]) -> Array:
    """Return the sum of the parts, added in order."""
    return sum(parts[1:], start=parts[0])


def parallel_map(compute: Callable[[Item], Mapped], items: Iterable[Item], *, threads: int) -> list[Mapped]:
    """Return ``compute`` of every item, in order, on several threads: the same bits on any number of threads."""
    return list(parallel_imap(compute, items, threads=threads))


def parallel_imap(compute: Callable[[Item], Mapped], items: Iterable[Item], *, threads: int) -> Iterator[Mapped]:
    """Yield ``compute`` of every item, in order, on several threads."""
    inputs = list(items)
    if threads == 1 or len(inputs) == 1:
        yield from map(compute, inputs)
        return
    # NumPy's error state is a context variable: each thread gets the caller's.
    contexts = [contextvars.copy_context() for _ in inputs]
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda context, item: context.run(compute, item), contexts, inputs)
