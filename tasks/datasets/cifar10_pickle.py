"""Reads the pickles of CIFAR-10's python version, and refuses any other content."""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any, NoReturn

from tasks.errors import DataError

# Dicts, lists, tuples, texts, bytes, whole numbers, the memo, and the three opcodes that build an array.
# fmt: off
OPCODES = frozenset(
    {
        "PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1",
        "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST",
        "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "BINPUT", "LONG_BINPUT",
        "BINGET", "LONG_BINGET", "GLOBAL", "REDUCE", "BUILD",
    }
)
# fmt: on
TUPLES = 100  # a published file has five; hashing a deep nest of them would overflow the stack


class PixelArray:
    """A stand-in for an unpickled NumPy array: its shape and bytes, which the caller checks.

    NumPy's own functions are not admitted: with hostile arguments they allocate memory, and build any type.
    """

    __slots__ = ("content", "fortran_order", "shape")

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.fortran_order = False
        self.content = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, self.shape, dtype, self.fortran_order, self.content = state
        if type(dtype) is not _Uint8 or type(self.content) is not bytes:
            raise pickle.UnpicklingError("an array must be uint8")


class _Uint8:
    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and alignment: a byte has neither."""


# Instances without a __dict__, so that a pickle can neither change them nor build another of their kind.
class _Reconstruct:
    __slots__ = ()

    def __call__(self, _kind: object, _shape: object, _typecode: object) -> PixelArray:
        return PixelArray()


class _Ndarray:
    __slots__ = ()


class _Dtype:
    __slots__ = ()

    def __call__(self, code: object, _align: object = False, _copy: object = False) -> _Uint8:  # noqa: FBT002 - pickle calls it by position
        if code not in ("u1", b"u1"):
            raise pickle.UnpicklingError("an array must be uint8")
        return _Uint8()


class _Encode:
    __slots__ = ()

    def __call__(self, text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError("bytes must be spelt in latin1")
        return text.encode("latin1")


ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy", "ndarray"): _Ndarray(),
    ("numpy", "dtype"): _Dtype(),
    ("_codecs", "encode"): _Encode(),  # how Python 3 spells bytes for Python 2
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, for which CIFAR-10 has no use")
        return ADMITTED[module, name]

    def persistent_load(self, pid: object, /) -> NoReturn:
        raise pickle.UnpicklingError(f"it refers to an outside object of {type(pid).__name__}")


def loads(content: bytes, file: Path) -> dict[Any, Any]:
    """Return the dict that a file of CIFAR-10's python version holds, its arrays as `PixelArray`.

    Raises
    ------
    DataError
        If the content is no pickle, or holds anything that those files do not.
    """
    try:
        _check(content)
        value = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle can raise whatever its opcodes lead to
        raise DataError(f"{file} must be a pickle of CIFAR-10's python version: {error}") from error
    if type(value) is not dict:
        raise DataError(f"{file} must be a pickle of CIFAR-10's python version: a dict, got {type(value).__name__}")
    return value


def _check(content: bytes) -> None:
    """Refuse content on which the C unpickler would exhaust memory or stack."""
    tuples = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name not in OPCODES:
            raise pickle.UnpicklingError(f"it uses the opcode {opcode.name}, for which CIFAR-10 has no use")
        tuples += opcode.name.startswith("TUPLE")
        # The C unpickler allocates as many memo entries as the largest index says.
        if tuples > TUPLES or (opcode.name in ("BINPUT", "LONG_BINPUT") and int(argument or 0) > count):
            raise pickle.UnpicklingError(f"its {opcode.name} number {count} is out of proportion")
