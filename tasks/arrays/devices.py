"""Where arrays live: the library and device that compute, how values come to them and back, how much they take at once.

An empty array, ``like``, stands for a library, a precision and a device. The host computes with NumPy; everything
else that array-api-compat covers is a *device* here, and takes the same code in larger pieces. Matrix products are
float32 throughout: PyTorch and CuPy leave TF32 off unless they are told otherwise, and nothing here tells them.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_cupy_array, is_numpy_array, is_torch_array, to_device

from tasks.arrays.array import Array
from tasks.errors import ConfigError, unknown_choice

DEVICES = ("cpu", "cuda")

HOST = np.empty(0, dtype=np.float32)
"""NumPy on the CPU, float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtOnce:
    """What is worked on at once: examples of a block, candidates of a search, bytes of their scores, numbers of a grid.

    On the host these are sizes that stay in cache; a device needs pieces large enough that starting its
    kernels does not show. Every block of 216 candidates casts and centres all images once, a hundredth of its
    products on CIFAR-10; there, the scores' bytes are those of 54 steps of local search, and twice 54 are the 100
    between two evaluations, wherever in a panel of products the first stands. They decide bits, so they are no options.
    """

    examples: int
    candidates: int
    score_bytes: int
    numbers: int


ON_HOST = AtOnce(examples=2048, candidates=216, score_bytes=104 * 2**20, numbers=122_880)
ON_DEVICE = AtOnce(examples=16_384, candidates=512, score_bytes=2**30, numbers=2**26)


def at_once(like: Array) -> AtOnce:
    """Return how much is worked on at once where ``like`` lives."""
    return ON_HOST if is_numpy_array(like) else ON_DEVICE


def pieces(count: int, size: int) -> list[slice]:
    """Return slices of at most ``size`` that make up ``count``.

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
    if device not in DEVICES:
        raise unknown_choice("device", device, DEVICES)
    if device == "cpu":
        return np
    reasons = []
    for name, library in (("PyTorch", "torch"), ("CuPy", "cupy")):
        try:
            xp: Any = importlib.import_module(library)
        except ImportError:
            reasons.append(f"{name} is not installed")
            continue
        if (blind := _blind(xp)) is None:
            return xp
        reasons.append(f"{name} {xp.__version__} {blind}")
    raise ConfigError(
        f"device must be cpu where no library sees a GPU, got {device!r} ({'; '.join(reasons)};"
        " pip install 'descent-sweeps[cuda12]' or [cuda13] brings CuPy for a CUDA driver of that version)"
    )


def _blind(xp: Any) -> str | None:
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
    """Return the bytes that are free on this process's GPU; where it sees none, those of a small one."""
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
    return xp.empty(0, dtype=getattr(xp, precision), device=getattr(like, "device", None))


def placed(values: Array, like: Array, *, dtype: Any = None) -> Array:
    """Return host values where ``like`` lives, in their own type or in ``dtype``; NumPy arrays stay as they are."""
    if is_numpy_array(like):
        return np.asarray(values, dtype=dtype)
    # A copy: PyTorch refuses to share memory that is read-only.
    xp = array_namespace(like)
    return xp.asarray(np.asarray(values), dtype=dtype, device=getattr(like, "device", None), copy=True)


def staging(shape: tuple[int, ...], like: Array) -> np.ndarray:
    """Return an uninitialised float32 array in memory of the host that the device of ``like`` reads directly.

    PyTorch copies twice as fast from pinned memory; CuPy pins a buffer of its own.
    """
    if is_torch_array(like) and like.is_cuda:
        xp: Any = importlib.import_module("torch")
        return np.asarray(xp.empty(shape, dtype=xp.float32, pin_memory=True).numpy())
    return np.empty(shape, dtype=np.float32)


def rows(array: Array, index: Any) -> Array:
    """Return ``array[index]`` for host integers: some of the trials, or of the candidates."""
    return array_namespace(array).take(array, placed(np.asarray(index, dtype=np.int64), array), axis=0)


def as_numpy(array: Array) -> np.ndarray:
    """Return an array in the memory of the host, in its own type."""
    if is_cupy_array(array) or is_torch_array(array):
        array = to_device(array, "cpu")
    return np.asarray(array)


def host(array: Array) -> np.ndarray:
    """Return an array as float64 in the memory of the host. On a device, it waits for all that was asked before."""
    return np.asarray(as_numpy(array), dtype=np.float64)


def double(array: Array) -> Array:
    """Return an array as float64 where it lives."""
    xp = array_namespace(array)
    return xp.astype(array, xp.float64, copy=False)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory did not suffice, whichever library raised it.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError())
    (True, False)
    """
    named = type(error).__name__ == "OutOfMemoryError"  # PyTorch's is a RuntimeError
    return isinstance(error, MemoryError) or named or "CUBLAS_STATUS_ALLOC_FAILED" in str(error)
