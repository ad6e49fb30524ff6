"""Steps that a GPU does again and again: their kernels are recorded once, and then started together, without Python.

Of a group of narrow networks, Python takes longer to start the kernels of a step than the GPU takes to compute them.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.devices import is_torch_on_cuda

# How PyTorch warns of a call that waits for the GPU.
_WAITED = "called a synchronizing CUDA operation"


class Replay:
    """A computation that depends on a number alone, and updates arrays in place; the number lies on the device.

    Under PyTorch on CUDA its kernels are recorded as a graph, which every later call starts. A computation that waits
    for the GPU cannot be recorded, so calls are watched; the first may wait, since it also creates what the others use.
    One that waits again, or lacks the memory for a graph, is computed anew each time, as with any other library.
    """

    def __init__(self, compute: Callable[[Array], Sequence[Array]], like: Array) -> None:
        xp, device = array_namespace(like), like.device
        self._compute = compute
        self._number = xp.zeros(1, dtype=xp.int64, device=device)
        self._chances = 2 if is_torch_on_cuda(like) else 0  # how many calls may show that they do not wait
        self._recordable = False
        self._recorded: tuple[Any, Sequence[Array]] | None = None

    def __call__(self, number: int) -> Sequence[Array]:
        """Return the computation's arrays for a number."""
        self._number[...] = number
        if self._recordable:
            self._recorded, self._recordable = _recorded(self._compute, self._number), False
        if self._recorded is not None:
            graph, outputs = self._recorded
            graph.replay()
            return [output.clone() for output in outputs]  # the next replay overwrites them
        if not self._chances:
            return self._compute(self._number)
        outputs, waited = _watched(self._compute, self._number)
        self._chances, self._recordable = (self._chances - 1, False) if waited else (0, True)
        return outputs


def entry(values: Array, number: int | Array) -> Array:
    """Return ``values[number]``, for a number of the host or an array of one integer beside the values.

    >>> import numpy as np
    >>> entry(np.array([2.0, 3.0]), np.array([1])), entry(np.array([2.0, 3.0]), 0)
    (array(3.), array(2.))
    """
    if isinstance(number, int):
        return values[number, ...]
    return array_namespace(values).take(values, number, axis=0)[0, ...]


def free_graphs() -> None:
    """Free the memory that graphs compute in: none is replayed any more.

    PyTorch does not free it when an allocation fails: the halves of a group, or the next group, would lack it.
    """
    if _LATEST:
        _LATEST.clear()
        _cuda().empty_cache()


def _watched(compute: Callable[[Array], Sequence[Array]], number: Array) -> tuple[Sequence[Array], bool]:
    """Return the computation's arrays, and whether it waited for the GPU."""
    cuda = _cuda()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mode = cuda.get_sync_debug_mode()
        cuda.set_sync_debug_mode("warn")
        try:
            outputs = compute(number)
        finally:
            cuda.set_sync_debug_mode(mode)
    return outputs, any(_WAITED in str(warning.message) for warning in caught)


def _recorded(compute: Callable[[Array], Sequence[Array]], number: Array) -> tuple[Any, Sequence[Array]] | None:
    """Return the graph of a computation, and the arrays that it leaves its results in; None where it has none."""
    cuda, stream = _cuda(), _stream()
    graph = cuda.CUDAGraph()
    stream.wait_stream(cuda.current_stream())
    with cuda.stream(stream):
        try:
            # Other threads may use the GPU meanwhile.
            graph.capture_begin(pool=_pool(), capture_error_mode="thread_local")
            try:
                outputs = compute(number)
            finally:
                graph.capture_end()
        except RuntimeError:
            return None
    cuda.current_stream().wait_stream(stream)
    _LATEST[:] = [graph]
    return graph, outputs


# The latest graph: while a graph is alive, PyTorch keeps the memory that graphs compute in, for the next one.
_LATEST: list[Any] = []


def _pool() -> Any:
    """Return the memory that the graphs of this process share; they are never replayed at the same time."""
    return _LATEST[0].pool() if _LATEST else _cuda().graph_pool_handle()


@functools.cache
def _stream() -> Any:
    """Return the stream that graphs are recorded on: one, since a BLAS keeps memory for every stream."""
    return _cuda().Stream()


def _cuda() -> Any:
    return importlib.import_module("torch").cuda
