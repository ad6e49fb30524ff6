"""Checkpoints on disk: the progress of a sweep, from which another process can go on."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import RecordError
from pipeline.plan.plan import Progress
from pipeline.record.log import Codec, DamagedError, Part, sync_folder
from pipeline.sweep.spilling import spilled

SHARE = 0.05
"""The largest share of the time that the driver spends on writing a group's checkpoints."""

KEPT_AFTER_END = 60.0
"""The seconds for which a group's checkpoints are kept after its last trial has ended: the log has that by then."""

_MAGIC = b"descent-sweeps checkpoint 4\n"

Saved = tuple[tuple[str, ...], Progress]
"""A checkpoint on disk: the keys of its trials, and their progress."""


class Checkpoints:
    """The checkpoints of one sweep, in a folder that one process at a time may use.

    The last two of every group are kept until its trials have ended, those of an earlier process until the sweep has:
    if the last is damaged, the one before is used. ``damaged`` are the files that `load` could not use.

    Raises
    ------
    RecordError
        If another process uses the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: list[Path] = []
        self._due: dict[tuple[str, ...], float] = {}
        self._running: dict[str, set[str]] = {}  # the trials of a group that have not ended, by the prefix of its files
        self._prefixes: defaultdict[str, set[str]] = defaultdict(set)  # of the files of each trial
        self._ended: deque[tuple[float, str]] = deque()  # the groups that have ended, and when
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder, os.O_RDONLY)
        try:
            # The system releases the lock when the process ends, however it ends.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise RecordError(f"the sweep must not be running elsewhere, its folder is in use: {folder}") from None

    @classmethod
    def fresh(cls, parent: Path) -> Checkpoints:
        """Return checkpoints in a new folder in ``parent``, which other sweeps may use too."""
        parent.mkdir(parents=True, exist_ok=True)
        return cls(Path(tempfile.mkdtemp(prefix="checkpoints-", dir=parent)))

    @classmethod
    def are_used(cls, folder: Path) -> bool:
        """Return whether a process uses the checkpoints in ``folder``, or may: it is another user's."""
        try:
            if folder.is_dir():
                cls(folder).close(done=False)
        except (RecordError, PermissionError):
            return True
        return False

    def is_due(self, keys: tuple[str, ...]) -> bool:
        """Return whether another checkpoint of these trials keeps within its `SHARE` of the time."""
        return time.monotonic() >= self._due.get(keys, 0.0)

    def save(self, keys: tuple[str, ...], progress: Progress) -> None:
        """Write the progress of the trials with these keys; the checkpoint before stays until it is written.

        Raises
        ------
        OSError
            If it cannot be written; then nothing has changed.
        """
        self._remove_ended()
        began = time.monotonic()
        prefix = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]
        before = sorted(self.folder.glob(f"{prefix}-*.checkpoint"))
        write_atomically(self.folder / f"{prefix}-{progress.checkpoint.step:012d}.checkpoint", encode((keys, progress)))
        for old in before[:-1]:
            old.unlink(missing_ok=True)
        self._running[prefix] = set(keys)
        for key in keys:
            self._prefixes[key].add(prefix)
        now = time.monotonic()
        self._due[keys] = now + (now - began) / SHARE

    def end(self, key: str) -> None:
        """Record that a trial needs its checkpoints no more: what only such trials need is removed later."""
        for prefix in self._prefixes.pop(key, ()):
            self._running[prefix].discard(key)
            if not self._running[prefix]:
                del self._running[prefix]
                self._ended.append((time.monotonic(), prefix))

    def load(self) -> dict[str, Progress]:
        """Return the progress of every trial by its furthest valid checkpoint, by key."""
        best: dict[str, Progress] = {}
        for path in sorted(self.folder.glob("*.checkpoint"), reverse=True):  # the later ones of a group first
            try:
                keys, progress = decode(path.read_bytes())
            except (DamagedError, OSError):
                self.damaged.append(path)
                continue
            for number, key in enumerate(keys):
                if key not in best or best[key].checkpoint.step < progress.checkpoint.step:
                    best[key] = spilled(progress.of_trials([number]), self.folder)
        return best

    def close(self, *, done: bool) -> None:
        """Unlock the folder; remove it if the sweep is ``done``."""
        if done:
            self._remove()
        os.close(self._lock)

    def _remove_ended(self) -> None:
        while self._ended and time.monotonic() - self._ended[0][0] >= KEPT_AFTER_END:
            _, prefix = self._ended.popleft()
            for file in self.folder.glob(f"{prefix}-*.checkpoint"):
                with contextlib.suppress(OSError):
                    file.unlink()

    def _remove(self) -> None:
        """Remove the files of this class, and the folder if it is empty: a record named it, so it may be any folder."""
        with contextlib.suppress(OSError):
            for file in [file for kind in ("*.checkpoint", "*.part") for file in self.folder.glob(kind)]:
                file.unlink(missing_ok=True)
            self.folder.rmdir()


def encode(saved: Saved) -> list[Part]:
    """Return a checkpoint in parts: a line that names the format, a SHA-256, and what that is of."""
    body, digest = Codec().encode(*saved), hashlib.sha256()
    for part in body:
        digest.update(part)
    return [_MAGIC, digest.digest(), *body]


def decode(content: bytes) -> Saved:
    """Return the checkpoint whose parts `encode` made.

    Raises
    ------
    DamagedError
        If the format or the checksum is wrong.
    """
    if not content.startswith(_MAGIC):
        raise DamagedError(f"a checkpoint must begin with {_MAGIC.decode().strip()!r}, got a file of another form")
    start = len(_MAGIC) + hashlib.sha256().digest_size
    digest, body = content[len(_MAGIC) : start], content[start:]
    if hashlib.sha256(body).digest() != digest:
        raise DamagedError("a checkpoint must be as it was written, got one whose checksum differs")
    return Codec().decode(body)


def write_atomically(path: Path, parts: Iterable[Part]) -> None:
    """Write a file atomically: it is complete or missing, even after a crash of the machine."""
    fresh = path.with_suffix(".part")
    try:
        with fresh.open("wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    sync_folder(path.parent)
