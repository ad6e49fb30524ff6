"""The log of a sweep: its reports, appended durably to one file with checksums, and read back."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import time_ns
from typing import Any, Self

from pipeline.errors import RecordError
from pipeline.record.codec import Codec

LOG_NAMES = "record-*.log"
"""The pattern of the names of log files."""

_MAGIC = b"descent-sweeps log 2\n"
_LENGTH = struct.Struct(">Q")
_CHECKSUM = hashlib.sha256().digest_size
_HEAD = _LENGTH.size + _CHECKSUM

_logger = logging.getLogger(__name__)


class DamagedError(RecordError):
    """A log is damaged: from some byte on it is not as it was written."""


class Log:
    """A file of entries, each with its time and a checksum of all before it; `create`, `begin` and `open` return one.

    One process at a time may use it. ``entries`` counts the entries appended or read. A sweep goes on without its log:
    what cannot be written costs one warning, and ``error`` is the last; ``path`` is None if the file is missing. A
    ``temporary`` log is removed when it is closed, unless it is needed.
    """

    def __init__(self, path: Path | None, file: int = -1, *, temporary: bool = False) -> None:
        self.path = path
        self.entries = 0
        self.error: OSError | None = None
        self._file, self._temporary = file, temporary
        self._codec = Codec()
        self._end, self._checksum = len(_MAGIC), hashlib.sha256(_MAGIC).digest()
        self._unwritten: list[bytes] = []
        self._synced = 0
        self._trimmed = False

    @classmethod
    def begin(cls, folder: Path | None) -> Self:
        """Create a log in ``folder``, a temporary one if that is None; if it cannot be created, its file is missing."""
        try:
            place = folder or Path(tempfile.mkdtemp(prefix="descent-sweeps-"))
            name = LOG_NAMES.replace("*", str(time_ns()))
            return cls.create(place.absolute() / name, temporary=folder is None)
        except OSError as error:
            log = cls(None)
            log._warn(error)
            return log

    @classmethod
    def create(cls, path: Path, *, temporary: bool = False) -> Self:
        """Create a log at ``path``, or raise an `OSError`."""
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
        return cls(path, file, temporary=temporary)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the log at ``path``: read it to its end, then append to it.

        Raises
        ------
        RecordError
            If there is no such file, or another process uses it.
        DamagedError
            If the file does not begin like a log.
        """
        try:
            log = cls(path, os.open(path, os.O_RDWR))
        except OSError as error:
            raise RecordError(f"the log must be a file that can be read, got {path}: {error.strerror}") from None
        try:
            fcntl.flock(log._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel frees it when the process ends
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
            If the next entry is not as it was written, or incomplete. The file stays as it is until an entry is
            appended: that removes the damaged part.
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
        """Append an entry: it survives the end of the process, and after `sync` that of the machine.

        If it cannot be written, the next call that can write writes it, too.
        """
        if self.path is None:
            return
        self._unwritten.append(self._codec.encode((time, entry)))
        self.entries += 1
        parts, checksum = [], self._checksum
        for content in self._unwritten:
            checksum = _checksum_of(checksum, content)
            parts += [_LENGTH.pack(len(content)), checksum, content]
        block = b"".join(parts)
        try:
            if not self._trimmed:
                os.ftruncate(self._file, self._end)  # removes a damaged end
            _write(self._file, block, self._end)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            self._warn(error)
            return
        self._end, self._checksum = self._end + len(block), checksum
        self._unwritten, self._trimmed = [], True

    def sync(self) -> None:
        """Flush what is written to the disk."""
        if self.path is None or self._synced >= (end := self._end):
            return
        try:
            os.fsync(self._file)
        except OSError as error:
            self._warn(error)
        else:
            self._synced = end  # after it: another thread may sync meanwhile

    @property
    def is_whole(self) -> bool:
        """Whether the file is there and holds all entries."""
        return self.path is not None and not self._unwritten

    def close(self, *, needed: bool = True) -> None:
        """Close the file, so that other processes may use it; ``needed`` says that the store lacks some of it."""
        if self.path is not None:
            os.close(self._file)
            if self._temporary and not needed:
                shutil.rmtree(self.path.parent, ignore_errors=True)

    def _warn(self, error: OSError) -> None:
        if self.error is None:
            _logger.warning("the log cannot be written, so what the store lacks stays in memory: %s", error)
        self.error = error


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
