"""A file of records: appended durably, each with a checksum that covers it and all before it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pipeline.errors import RecordError

_LENGTH = struct.Struct(">Q")
_CHECKSUM = hashlib.sha256().digest_size
_HEAD = _LENGTH.size + _CHECKSUM


class DamagedError(RecordError):
    """A file is not as it was written, from some byte on."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record begins, and the checksum of the one before it."""

    offset: int
    checksum: bytes


class RecordFile:
    """The file ``path``, opened as ``file``, that begins with ``magic``; `create` and `open` make one.

    One process at a time may use it. ``first`` is the place of the first record, ``end`` that after the last.
    """

    def __init__(self, path: Path, file: int, magic: bytes) -> None:
        self.path = path
        self._file = file
        self.first = self.end = Place(len(magic), hashlib.sha256(magic).digest())

    @classmethod
    def create(cls, path: Path, magic: bytes) -> Self:
        """Make a new file at ``path``, or raise an `OSError`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _lock(file)
            _write(file, magic, 0)
            _sync_folder(path.parent)
        except OSError:
            path.unlink()
            os.close(file)
            raise
        return cls(path, file, magic)

    @classmethod
    def open(cls, path: Path, magic: bytes) -> Self:
        """Open the file at ``path`` to read it.

        Raises
        ------
        OSError
            If there is none; a BlockingIOError if another process uses it.
        DamagedError
            If it does not begin with ``magic``.
        """
        opened = cls(path, os.open(path, os.O_RDONLY), magic)
        try:
            opened._begin(magic)
        except BaseException:
            opened.close()
            raise
        return opened

    def append(self, contents: Iterable[bytes]) -> None:
        """Write records at the end, so that they are there even if the machine stops.

        Raises
        ------
        OSError
            If that cannot be: then nothing has been appended.
        """
        parts, checksum = [], self.end.checksum
        for content in contents:
            checksum = _checksum(checksum, content)
            parts += [_LENGTH.pack(len(content)), checksum, content]
        block = b"".join(parts)
        try:
            _write(self._file, block, self.end.offset)
            os.fsync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self.end.offset)
            raise
        self.end = Place(self.end.offset + len(block), checksum)

    def read(self, place: Place) -> tuple[bytes, Place]:
        """Return the record at ``place``, and the place of the next.

        Raises
        ------
        DamagedError
            If it is not as it was written.
        """
        head = _content(self._file, place.offset, _HEAD)
        start = place.offset + _HEAD
        if len(head) == _HEAD:
            (length,) = _LENGTH.unpack_from(head)
            content = _content(self._file, start, length) if length <= self.end.offset - start else b""
            checksum = head[_LENGTH.size :]
            if len(content) == length and _checksum(place.checksum, content) == checksum:
                return content, Place(start + length, checksum)
        raise DamagedError(
            f"a record must be as it was written, got another checksum from byte {place.offset} of {self.end.offset} on"
        )

    def close(self) -> None:
        """Leave the file to others."""
        os.close(self._file)

    def _begin(self, magic: bytes) -> None:
        _lock(self._file)
        if _content(self._file, 0, len(magic)) != magic:
            raise DamagedError(f"the file must begin with {magic.decode().strip()!r}, got another: {self.path}")
        self.end = Place(os.fstat(self._file).st_size, b"")


def _checksum(before: bytes, content: bytes) -> bytes:
    return hashlib.sha256(before + _LENGTH.pack(len(content)) + content).digest()


def _write(file: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _content(file: int, offset: int, length: int) -> bytes:
    parts = []
    while length > 0 and (part := os.pread(file, length, offset)):
        parts.append(part)
        length, offset = length - len(part), offset + len(part)
    return b"".join(parts)


def _lock(file: int) -> None:
    if os.name == "posix":
        import fcntl  # noqa: PLC0415  # POSIX only

        # The lock goes with the process, however that ends.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
