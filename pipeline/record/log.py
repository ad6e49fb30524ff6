"""The log of a sweep: its reports, appended durably to one file with checksums, and read back to the bit."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import fcntl
import hashlib
import io
import json
import logging
import os
import struct
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import time_ns
from typing import Any, Self

import numpy as np

import pipeline.reports
import tasks.events
from pipeline.address import redact
from pipeline.config.schema import parse
from pipeline.errors import RecordError
from pipeline.plan.plan import PlannedTrial
from pipeline.record import protocol
from tasks.errors import ConfigError

LOG_NAMES = "record-*.log"
"""The pattern of the names of log files."""

_MAGIC = b"descent-sweeps log 6\n"
_LENGTH = struct.Struct(">Q")
_CHECKSUM = hashlib.sha256().digest_size
_HEAD = _LENGTH.size + _CHECKSUM

_logger = logging.getLogger(__name__)


class DamagedError(RecordError):
    """A log, or a checkpoint, is damaged: from some byte on it is not as it was written."""


class Log:
    """A file of entries, each with its time and a checksum of all before it; `begin` and `open` return one.

    One process at a time may use it. ``entries`` counts the entries appended or read. A sweep goes on without its log:
    what cannot be written costs one warning, and ``error`` is the last; ``path`` is None if the file is missing. The
    file is removed when the log is closed, unless it is ``needed``.
    """

    def __init__(self, path: Path | None, file: int = -1) -> None:
        self.path = path
        self.entries = 0
        self.error: OSError | None = None
        self.needed = True
        self._file = file
        self._codec = Codec()
        self._end, self._checksum = len(_MAGIC), hashlib.sha256(_MAGIC).digest()
        self._unwritten = b""
        self._synced = 0
        self._trimmed = False

    @classmethod
    def begin(cls, folder: Path | None) -> Self:
        """Create a log in ``folder``, by default that of temporary files; if it cannot be, its file is missing."""
        log = cls(None)
        try:
            path = (folder or Path(tempfile.gettempdir())).absolute() / LOG_NAMES.replace("*", str(time_ns()))
            path.parent.mkdir(parents=True, exist_ok=True)
            log = cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            fcntl.flock(log._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write(log._file, _MAGIC, 0)
            sync_folder(path.parent)
        except OSError as error:
            log.needed = False
            log.close()
            log = cls(None)
            log._warn(error)
        return log

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
        start = os.pread(log._file, len(_MAGIC), 0)
        if start != _MAGIC:
            log.close()
            raise DamagedError(f"a log must begin with {_MAGIC!r}, got {start!r}: {path}")
        return log

    def read(self) -> Iterator[tuple[int, Any]]:
        """Yield the entries that were appended before the log was opened, with their times.

        Raises
        ------
        DamagedError
            If the next entry is not as it was written, or incomplete. The file stays as it is until an entry is
            appended: that removes the damaged part.
        RecordError
            If it holds a trial of a row, or with a key of one, that is not there: its package is not installed.
        """
        size = os.fstat(self._file).st_size
        with os.fdopen(self._file, "rb", closefd=False) as file:
            file.seek(self._end)
            while self._end < size:
                head = file.read(_HEAD)
                length = _LENGTH.unpack_from(head)[0] if len(head) == _HEAD else size
                content = file.read(length) if self._end + _HEAD + length <= size else b""
                checksum = _checksum_of(self._checksum, content)
                if checksum != head[_LENGTH.size :]:
                    raise DamagedError(
                        f"an entry must be as it was written, got another checksum from byte {self._end} of {size} on"
                    )
                time, entry = self._codec.decode(content)
                self._end, self._checksum = self._end + _HEAD + length, checksum
                self.entries += 1
                yield time, entry

    def append(self, time: int, entry: Any) -> None:
        """Append an entry: it survives the end of the process, and after `sync` that of the machine.

        If it cannot be written, `write` is to be called again.
        """
        if self.path is None:
            return
        content = b"".join(self._codec.encode(time, entry))
        self._checksum = _checksum_of(self._checksum, content)
        self._unwritten += _LENGTH.pack(len(content)) + self._checksum + content
        self.entries += 1
        self.write()

    def write(self) -> None:
        """Write what could not be written before, when the disk was full, say."""
        if not self._unwritten:
            return
        try:
            if not self._trimmed:
                os.ftruncate(self._file, self._end)  # removes a damaged end
            _write(self._file, self._unwritten, self._end)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            self._warn(error)
            return
        self._end += len(self._unwritten)
        self._unwritten, self._trimmed = b"", True

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

    def close(self) -> None:
        """Write what is left to be written, and close the file, so that other processes may use it."""
        self.write()
        if self.path is not None:
            os.close(self._file)
            if not self.needed:
                self.path.unlink(missing_ok=True)

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


def sync_folder(folder: Path) -> None:
    """Flush to the disk which files a folder holds."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


_TYPES: Mapping[str, Any] = {
    name: kind
    for module in (tasks.events, pipeline.reports, protocol)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, enum.Enum))
}
"""The types that an entry may hold, by name: those of `pipeline.reports` and of the modules above."""

Part = bytes | memoryview
"""What is written as its bytes."""

_KIND = "\0"
"""The key of an object's kind: the keys of a mapping may be any names, such as those of a user's metrics."""


class Codec:
    """Encodes pairs of values, such as the entries of a log with their times, or decodes them, in order.

    A value holds records, arrays and plain data. The first that has a trial holds it in full, later ones its key.
    Passwords are removed from addresses, and what is not part of a trial from its config. Sequences become tuples.
    """

    def __init__(self) -> None:
        self._trials: dict[str, PlannedTrial] = {}
        self._blobs: list[Part] = []  # the arrays of the pair that is being encoded
        self._to_read = io.BytesIO()  # those of the pair that is being decoded
        self._encoder = json.JSONEncoder(separators=(",", ":"), default=self._encoded)

    def encode(self, *pair: Any) -> list[Part]:
        """Return two values as a line of JSON, followed by their arrays, which are not copied."""
        blobs = self._blobs = list[Part]()
        text = self._encoder.encode(pair)
        self._blobs = []  # an encoder refers to itself, so it would keep them for a while
        return [text.encode(), b"\n", *blobs]

    def decode(self, content: bytes) -> tuple[Any, Any]:
        """Return the two values that `encode` made into ``content``.

        Raises
        ------
        DamagedError
            If ``content`` is no such pair. Decoding never runs code from the file.
        """
        self._to_read = io.BytesIO(content)
        try:
            first, second = _tuples(json.loads(self._to_read.readline(), object_hook=self._decoded))
        except ConfigError as error:
            raise RecordError(f"the packages whose rows a log's trials have must be installed here: {error}") from None
        except Exception as error:  # noqa: BLE001  # values that do not fit raise errors of any kind
            raise DamagedError(f"an entry must be one of a record's log, got {content[:60]!r}: {error}") from None
        finally:
            self._to_read = io.BytesIO()
        return first, second

    def _encoded(self, value: Any) -> dict[str, Any]:
        """Return what JSON lacks as an object that holds its `_KIND`."""
        match value:
            case PlannedTrial(key=key) if key in self._trials:
                return {_KIND: "trial", "of": key}
            case enum.Enum():
                return {_KIND: type(value).__name__, "value": value.value}
            case bytes():
                self._blobs.append(value)
                return {_KIND: "bytes", "of": len(value)}
            case np.ndarray() | np.generic():
                array = np.asarray(value)
                self._blobs.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
                return {_KIND: "array", "of": [array.dtype.str, *array.shape]}
            case Mapping():
                return dict(value)
        fields = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        if isinstance(value, PlannedTrial):
            self._trials[value.key] = value
            config = {name: one for name, one in value.config.items() if name not in {"cluster", "tracking"}}
            fields |= {"overrides": list(map(redact, value.overrides)), "config": config, "trial": None}
        kept = {name: one for name, one in fields.items() if not isinstance(one, BaseException)}
        return {_KIND: type(value).__name__, **kept}

    def _decoded(self, value: dict[str, Any]) -> Any:
        decoded: Any = value
        match value.pop(_KIND, None), value:
            case None, _:
                pass
            case "array", {"of": [kind, *shape]}:
                size = np.dtype(kind).itemsize * int(np.prod(shape, dtype=np.int64))
                decoded = np.frombuffer(self._read(size), dtype=kind).reshape(shape)
            case "bytes", {"of": length}:
                decoded = self._read(length)
            case "trial", {"of": key}:
                decoded = self._trials[key]
            case "PlannedTrial", {"key": key, "overrides": overrides, "config": config}:
                value |= {"overrides": tuple(overrides), "trial": parse(config).trial}
                decoded = self._trials[key] = PlannedTrial(**value)
            case kind, _:
                decoded = _TYPES[kind](**{name: _tuples(one) for name, one in value.items()})
        return decoded

    def _read(self, length: int) -> bytes:
        part = self._to_read.read(length)
        if not 0 <= length == len(part):
            raise ValueError(f"{length} bytes are needed, got {len(part)}")
        return part


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
