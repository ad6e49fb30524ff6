"""The log of a sweep: all that is reported of it, appended durably to one file with checksums, and read back."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from pipeline.errors import RecordError
from pipeline.record.codec import Codec

LOG_NAMES = "record-*.log"
"""What the names of logs are like."""

_MAGIC = b"descent-sweeps log 1\n"
_LENGTH = struct.Struct(">Q")
_CHECKSUM = hashlib.sha256().digest_size
_HEAD = _LENGTH.size + _CHECKSUM


class DamagedError(RecordError):
    """A log is not as it was written, from some byte on."""


class Log:
    """A file of entries, each with its time, and a checksum that covers all before it; `create` and `open` make one.

    One process at a time may use it. ``entries`` is how many have been appended or read.
    """

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self.entries = 0
        self._file = file
        self._codec = Codec()
        self._end, self._checksum = len(_MAGIC), hashlib.sha256(_MAGIC).digest()
        self._unwritten: list[bytes] = []
        self._dirty = False

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a new log at ``path``, or raise an `OSError`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(file, _MAGIC, 0)
            _sync_folder(path.parent)
        except OSError:
            path.unlink()
            os.close(file)
            raise
        return cls(path, file)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the log at ``path``, to be read to its end and then appended to.

        Raises
        ------
        RecordError
            If there is none, or another process uses it.
        DamagedError
            If it does not even begin as a log does.
        """
        try:
            log = cls(path, os.open(path, os.O_RDWR))
        except OSError as error:
            raise RecordError(f"the log must be a file that can be read, got {path}: {error.strerror}") from None
        try:
            fcntl.flock(log._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it goes with the process, however that ends
        except OSError:
            log.close()
            raise RecordError(f"the log must not be in use, its sweep is still running: {path}") from None
        if _content(log._file, 0, len(_MAGIC)) != _MAGIC:
            log.close()
            raise DamagedError(f"a log must begin with {_MAGIC.decode().strip()!r}, got another file: {path}")
        return log

    def read(self) -> Iterator[tuple[int, Any]]:
        """Yield the entries that were appended before the log was opened, with their times.

        Raises
        ------
        DamagedError
            If what follows is not as it was written, or only a part of it is there. It is left as it is until
            something is appended.
        """
        size = os.fstat(self._file).st_size
        while self._end < size:
            head = _content(self._file, self._end, _HEAD)
            start, length = self._end + _HEAD, _LENGTH.unpack_from(head)[0] if len(head) == _HEAD else size
            content = _content(self._file, start, length) if start + length <= size else b""
            checksum = _checksum_of(self._checksum, content)
            if checksum != head[_LENGTH.size :]:
                raise DamagedError(
                    f"an entry must be as it was written, got another checksum from byte {self._end} of {size} on"
                )
            try:
                time, entry = self._codec.decode(content)
            except (RecordError, ValueError, TypeError) as error:
                raise DamagedError(str(error)) from None
            self._end, self._checksum, self.entries = start + length, checksum, self.entries + 1
            yield time, entry

    def append(self, time: int, entry: Any) -> None:
        """Write an entry at the end, so that it is there even if the process is killed; `sync` makes it last.

        Raises
        ------
        OSError
            If that cannot be: it waits for the next that can be written.
        """
        self._unwritten.append(self._codec.encode((time, entry)))
        self.entries += 1
        parts, checksum = [], self._checksum
        for content in self._unwritten:
            checksum = _checksum_of(checksum, content)
            parts += [_LENGTH.pack(len(content)), checksum, content]
        block = b"".join(parts)
        try:
            if not self._dirty:
                os.ftruncate(self._file, self._end)  # what a damage has cut off
            _write(self._file, block, self._end)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise
        self._end, self._checksum = self._end + len(block), checksum
        self._unwritten, self._dirty = [], True

    def sync(self) -> None:
        """Make what is written last even if the machine stops, or raise an `OSError`."""
        if self._dirty:
            self._dirty = False
            os.fsync(self._file)

    @property
    def is_whole(self) -> bool:
        """Whether all that was appended is written."""
        return not self._unwritten

    def close(self) -> None:
        """Leave the file to others."""
        os.close(self._file)


def _checksum_of(before: bytes, content: bytes) -> bytes:
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


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
