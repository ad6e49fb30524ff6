"""Checkpoints on disk: what a sweep has computed so far, kept so that another process can go on from it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.plan import Progress
from tasks.errors import SweepError
from tasks.events import Checkpoint, Curve

_MAGIC = b"descent-sweeps checkpoint 1\n"
_STATE, _CURVE = "state/", "curve/"

SHARE = 0.05
"""The share of a group's time that writing its checkpoints may take of the driver's."""


class CheckpointError(SweepError):
    """The folder of the checkpoints is in use, or a file in it is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A checkpoint on disk: the keys of its trials, and how far they had come together."""

    keys: tuple[str, ...]
    progress: Progress


class Checkpoints:
    """The checkpoints of one sweep, in a folder that one process at a time may use.

    Of every group the last two are kept: where the last is damaged, the one before still holds. ``damaged``
    are the files that `load` could not use.

    Raises
    ------
    CheckpointError
        If another process uses the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: list[Path] = []
        self._due: dict[tuple[str, ...], float] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder, os.O_RDONLY)
        try:
            _lock(self._lock)
        except BlockingIOError:
            os.close(self._lock)
            raise CheckpointError(f"the sweep must not be running elsewhere, its folder is in use: {folder}") from None

    @classmethod
    def fresh(cls, parent: Path) -> Checkpoints:
        """Return an empty folder for checkpoints in ``parent``, which other sweeps may use too."""
        parent.mkdir(parents=True, exist_ok=True)
        return cls(Path(tempfile.mkdtemp(prefix="checkpoints-", dir=parent)))

    def is_due(self, keys: tuple[str, ...]) -> bool:
        """Return whether a checkpoint of these trials would not take more than its `SHARE` of the time."""
        return time.monotonic() >= self._due.get(keys, 0.0)

    def save(self, saved: Saved) -> None:
        """Write a checkpoint; what was there before stays whole until it is written.

        Raises
        ------
        OSError
            If it cannot be written: then nothing has changed.
        """
        began = time.monotonic()
        prefix = hashlib.sha256("\n".join(saved.keys).encode()).hexdigest()[:16]
        before = sorted(self.folder.glob(f"{prefix}-*.checkpoint"))
        write_atomically(self.folder / f"{prefix}-{saved.progress.checkpoint.step:012d}.checkpoint", encode(saved))
        for old in before[:-1]:
            old.unlink(missing_ok=True)
        now = time.monotonic()
        self._due[saved.keys] = now + (now - began) / SHARE

    def load(self) -> list[Saved]:
        """Return the furthest whole checkpoint of every trial, each with those trials only."""
        found = [saved for path in sorted(self.folder.glob("*.checkpoint")) if (saved := self._read(path))]
        best: dict[str, Saved] = {}
        for saved in found:
            for key in saved.keys:
                if key not in best or best[key].progress.checkpoint.step < saved.progress.checkpoint.step:
                    best[key] = saved
        members: defaultdict[int, list[str]] = defaultdict(list)
        for key, saved in best.items():
            members[id(saved)].append(key)
        return [of_keys(saved, members[id(saved)]) for saved in found if id(saved) in members]

    def close(self, *, done: bool) -> None:
        """Let others use the folder; remove it where the sweep is done and needs it no more."""
        if done:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def _read(self, path: Path) -> Saved | None:
        try:
            return decode(path.read_bytes())
        except (CheckpointError, OSError):
            self.damaged.append(path)
            return None


def _lock(folder: int) -> None:
    if os.name == "posix":
        import fcntl  # noqa: PLC0415  # POSIX only

        # The lock goes with the process, however that ends.
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)


def of_keys(saved: Saved, keys: Sequence[str]) -> Saved:
    """Return the checkpoint of some of its trials."""
    slots = [saved.keys.index(key) for key in keys]
    curves = tuple(
        Curve(trial=slots.index(curve.trial), steps=curve.steps, metrics=curve.metrics)
        for curve in saved.progress.curves
        if curve.trial in slots
    )
    checkpoint = saved.progress.checkpoint.of_trials(slots)
    return Saved(keys=tuple(keys), progress=Progress(checkpoint=checkpoint, curves=curves))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, also where the machine stops in between."""
    fresh = path.with_suffix(".part")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def encode(saved: Saved) -> bytes:
    """Return a checkpoint as bytes: a line that says what it is, its SHA-256, and its arrays."""
    checkpoint, curves = saved.progress.checkpoint, saved.progress.curves
    arrays = {_STATE + name: np.asarray(array) for name, array in checkpoint.arrays.items()}
    # One array a curve: thousands of small ones would take a second to write. A step is exact in float64.
    arrays |= {
        f"{_CURVE}{number}": np.stack([curve.steps, *curve.metrics.values()]) for number, curve in enumerate(curves)
    }
    head = {
        "keys": saved.keys,
        "step": checkpoint.step,
        "trials": checkpoint.trials.tolist(),
        "curves": [[curve.trial, list(curve.metrics)] for curve in curves],
    }
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, head=np.array(json.dumps(head)), **arrays)
    body = buffer.getvalue()
    return _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def decode(content: bytes) -> Saved:
    """Return the checkpoint in bytes that `encode` made.

    Raises
    ------
    CheckpointError
        If they are not, or not whole.
    """
    digest, _, body = content.removeprefix(_MAGIC).partition(b"\n")
    if not content.startswith(_MAGIC) or hashlib.sha256(body).hexdigest().encode() != digest:
        raise CheckpointError("a checkpoint must be as it was written, got one whose checksum differs")
    with np.load(io.BytesIO(body), allow_pickle=False) as file:
        arrays = dict(file)
    head = json.loads(str(arrays.pop("head")))
    return Saved(
        keys=tuple(head["keys"]),
        progress=Progress(
            checkpoint=Checkpoint(
                step=head["step"],
                trials=np.array(head["trials"]),
                arrays={name.removeprefix(_STATE): array for name, array in arrays.items() if name.startswith(_STATE)},
            ),
            curves=tuple(
                Curve(
                    trial=trial,
                    steps=arrays[f"{_CURVE}{number}"][0].astype(np.int64),
                    metrics=dict(zip(names, arrays[f"{_CURVE}{number}"][1:], strict=True)),
                )
                for number, (trial, names) in enumerate(head["curves"])
            ),
        ),
    )
