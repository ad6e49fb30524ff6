"""The journal: writes that wait for their store, in a file that any other process can take up."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pipeline.errors import RecordError
from pipeline.record.record_file import DamagedError, Place, RecordFile
from pipeline.record.writes import Write, decode, encode

JOURNALS = "record-*.journal"
"""What the names of journals are like."""

AT_ONCE = 100
"""The most writes that are read at once."""

_MAGIC = b"descent-sweeps journal 1\n"
_END = b""
"""The last record of a journal that is whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where a journal's writes belong: the store's address without credentials, the experiment, the sweep.

    ``parent`` is the sweep's run, empty for a lone trial, ``resumed`` how often the sweep has been resumed.
    """

    uri: str
    experiment: str
    parent: str = ""
    resumed: str = "0"


class Journal:
    """Appends writes at the end, durably, and gives them back from the start; `create` and `open` make one.

    ``complete`` is true once the mark has been read that nothing follows.
    """

    def __init__(self, file: RecordFile) -> None:
        self.path = file.path
        self.complete = False
        self._file = file
        self._next = file.first
        self._ahead: deque[tuple[Write, Place]] = deque()

    @classmethod
    def create(cls, path: Path, head: Head) -> Self:
        """Make a new journal at ``path``, or raise an `OSError`."""
        journal = cls(RecordFile.create(path, _MAGIC))
        try:
            journal._file.append([json.dumps(dataclasses.asdict(head)).encode()])
        except OSError:
            journal.remove()
            journal.close()
            raise
        journal._next = journal._file.end
        return journal

    @classmethod
    def open(cls, path: Path) -> tuple[Self, Head]:
        """Open the journal at ``path`` to read it.

        Raises
        ------
        RecordError
            If there is none, or another process uses it.
        DamagedError
            If not even its head can be read.
        """
        try:
            journal = cls(RecordFile.open(path, _MAGIC))
        except BlockingIOError:
            raise RecordError(f"the journal must not be in use, its sweep is still running: {path}") from None
        except OSError as error:
            raise RecordError(f"the journal must be a file that can be read, got {path}: {error.strerror}") from None
        try:
            return journal, journal._read_head()
        except BaseException:
            journal.close()
            raise

    def append(self, writes: Iterable[Write]) -> None:
        """Write at the end, so that it is there even if the machine stops.

        Raises
        ------
        OSError
            If that cannot be: then nothing has been appended.
        """
        self._file.append(map(encode, writes))

    def finish(self) -> None:
        """Mark that nothing follows, or raise an `OSError`."""
        self._file.append([_END])

    def peek(self) -> list[Write]:
        """Return the next writes, a hundred at most; none at the end.

        Raises
        ------
        DamagedError
            If not even the next one is as it was written.
        """
        place = self._ahead[-1][1] if self._ahead else self._next
        while len(self._ahead) < AT_ONCE and place.offset < self._file.end.offset:
            try:
                content, after = self._file.read(place)
                if content == _END:
                    self.complete = True
                    break
                self._ahead.append((decode(content), after))
            except RecordError as error:
                if self._ahead:
                    break
                raise DamagedError(str(error)) from None
            place = after
        return [write for write, _ in self._ahead]

    def advance(self, count: int) -> None:
        """Leave the next ``count`` writes behind."""
        for _ in range(count):
            _, self._next = self._ahead.popleft() if self._ahead else self._file.read(self._next)

    def close(self) -> None:
        """Leave the file to others."""
        self._file.close()

    def remove(self) -> None:
        """Delete the file: nothing in it waits any more."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _read_head(self) -> Head:
        try:
            content, self._next = self._file.read(self._next)
            values = json.loads(content)
            head = Head(**values)
        except (RecordError, ValueError, TypeError, RecursionError) as error:
            raise DamagedError(f"the head of the journal must be as it was written, got {self.path}: {error}") from None
        if not all(isinstance(value, str) for value in values.values()):
            raise DamagedError(f"the head of the journal must hold texts, got {values!r}")
        return head
