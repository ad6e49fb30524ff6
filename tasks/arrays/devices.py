"""Devices: the array library that computes on one, copies to and from it, and the block sizes that suit it.

An empty array, ``like``, stands for a library, a precision and a device. The host computes with NumPy; any other
library of array-api-compat is called a *device* here, and runs the same code on larger blocks. Products of float32
arrays are float32 throughout: PyTorch and CuPy leave TF32 off by default, and nothing here turns it on.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_cupy_array, is_numpy_array, is_torch_array, to_device

from tasks.arrays.array import Array
from tasks.errors import ConfigError, require_choice

DEVICES = ("cpu", "cuda")

HOST = np.empty(0, dtype=np.float32)
"""NumPy on the CPU, float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSizes:
    """How much is computed at once: examples, candidates of a search, bytes of their scores, numbers of a grid.

    On the host a block stays in cache; on a device it is large enough to hide the launch of its kernels. All images
    are cast and centred once a block of 216 candidates, which on CIFAR-10 costs a hundredth of the block's products.
    There ``score_bytes`` holds the scores of 54 steps of a local search: two such blocks cover the 100 steps between
    two evaluations, whatever the first step's offset in its panel. The sizes decide bits, so they are no options.
    """

    examples: int
    candidates: int
    score_bytes: int
    numbers: int


HOST_BLOCKS = BlockSizes(examples=2048, candidates=216, score_bytes=104 * 2**20, numbers=122_880)
DEVICE_BLOCKS = BlockSizes(examples=16_384, candidates=512, score_bytes=2**30, numbers=2**26)


def block_sizes(like: Array) -> BlockSizes:
    """Return the block sizes for the device of ``like``."""
    return HOST_BLOCKS if is_numpy_array(like) else DEVICE_BLOCKS


def pieces(count: int, size: int) -> list[slice]:
    """Return ``range(count)`` cut into slices of at most ``size``.

    >>> pieces(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]


def array_for(device: str) -> Any:
    """Return an empty float32 array of the library and device that ``device`` names; see `library_for`.

    >>> array_for("cpu").dtype
    dtype('float32')
    """
    xp = library_for(device)
    return xp.empty(0, dtype=xp.float32, **({"device": "cuda"} if xp.__name__ == "torch" else {}))


def library_for(device: str) -> Any:
    """Return the library that computes on a device: NumPy on ``cpu``; on ``cuda`` PyTorch, else CuPy.

    PyTorch starts a kernel in two thirds of the time, and its sums over classes are six times as fast.

    Raises
    ------
    ConfigError
        If the name is none of `DEVICES`, or no installed library sees a GPU; the message says what was looked for.
    """
    require_choice("device", device, DEVICES)
    if device == "cpu":
        return np
    reasons = []
    for name, library in (("PyTorch", "torch"), ("CuPy", "cupy")):
        try:
            xp: Any = importlib.import_module(library)
        except ImportError:
            reasons.append(f"{name} is not installed")
            continue
        if (blind := _why_no_gpu(xp)) is None:
            return xp
        reasons.append(f"{name} {xp.__version__} {blind}")
    raise ConfigError(
        f"device must be cpu where no library sees a GPU, got {device!r} ({'; '.join(reasons)};"
        " pip install 'descent-sweeps[cuda12]' or [cuda13] brings CuPy for a CUDA driver of that version)"
    )


def _why_no_gpu(xp: Any) -> str | None:
    """Return why a library sees no GPU, None where it sees one."""
    if xp.__name__ == "torch":
        return None if xp.cuda.is_available() else "sees no GPU"
    try:
        return None if xp.cuda.runtime.getDeviceCount() else "sees no GPU"
    except xp.cuda.runtime.CUDARuntimeError as error:
        return f"sees no GPU: {error}"


def count_gpus() -> int:
    """Return how many GPUs this process sees, 0 where no library sees one."""
    try:
        xp = library_for("cuda")
    except ConfigError:
        return 0
    return int(xp.cuda.device_count() if xp.__name__ == "torch" else xp.cuda.runtime.getDeviceCount())


def available_memory() -> int:
    """Return the bytes that are free on this process's GPU; without a GPU, the 8 GiB of a small one."""
    if not count_gpus():
        return 8 * 2**30
    xp = library_for("cuda")
    free, _ = xp.cuda.mem_get_info() if xp.__name__ == "torch" else xp.cuda.runtime.memGetInfo()
    return int(free)


def in_precision(like: Array, precision: str) -> Array:
    """Return an empty array of the library and device of ``like``, in ``float32`` or ``float64``.

    >>> in_precision(HOST, "float64").dtype
    dtype('float64')
    """
    xp = array_namespace(like)
    return xp.empty(0, dtype=getattr(xp, precision), device=like.device)


def device_put(values: Array, like: Array, *, dtype: Any = None) -> Array:
    """Return values of the host on the device of ``like``, in their own type or in ``dtype``; no copy for NumPy."""
    if is_numpy_array(like):
        return np.asarray(values, dtype=dtype)
    # A copy: PyTorch refuses to share memory that is read-only.
    xp = array_namespace(like)
    return xp.asarray(np.asarray(values), dtype=dtype, device=like.device, copy=True)


def staging(shape: tuple[int, ...], like: Array) -> np.ndarray:
    """Return an uninitialised float32 array of the host, in pinned memory where ``like`` is PyTorch's on CUDA.

    PyTorch copies twice as fast from pinned memory; CuPy pins a buffer of its own.
    """
    if is_torch_on_cuda(like):
        xp: Any = importlib.import_module("torch")
        return np.asarray(xp.empty(shape, dtype=xp.float32, pin_memory=True).numpy())
    return np.empty(shape, dtype=np.float32)


def is_torch_on_cuda(like: Array) -> bool:
    """Return whether an array is PyTorch's, on a CUDA device.

    >>> is_torch_on_cuda(HOST)
    False
    """
    return bool(is_torch_array(like) and like.is_cuda)


def take_rows(array: Array, index: Any) -> Array:
    """Return ``array[index]`` for integers of the host."""
    return array_namespace(array).take(array, device_put(np.asarray(index, dtype=np.int64), array), axis=0)


def as_numpy(array: Array) -> np.ndarray:
    """Return an array as NumPy's, in its own type."""
    if is_cupy_array(array) or is_torch_array(array):
        array = to_device(array, "cpu")
    return np.asarray(array)


def host(array: Array) -> np.ndarray:
    """Return an array as NumPy's, float64. Of a device's array this waits until the device has computed it."""
    return np.asarray(as_numpy(array), dtype=np.float64)


def double(array: Array) -> Array:
    """Return an array as float64 on its own device."""
    xp = array_namespace(array)
    return xp.astype(array, xp.float64, copy=False)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of any array library means out of memory.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError())
    (True, False)
    """
    named = type(error).__name__ == "OutOfMemoryError"  # PyTorch's is a RuntimeError
    return isinstance(error, MemoryError) or named or "CUBLAS_STATUS_ALLOC_FAILED" in str(error)
