"""The file of a checkpoint: its format and its checksum."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass

import numpy as np

from pipeline.plan.plan import Progress
from tasks.errors import SweepError
from tasks.events import Checkpoint, Curve

_MAGIC = b"descent-sweeps checkpoint 3\n"
_STATE, _CURVE = "state/", "curve/"


class CheckpointError(SweepError):
    """The folder of the checkpoints is in use, or a file in it is damaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A checkpoint on disk: the keys of its trials, and their progress."""

    keys: tuple[str, ...]
    progress: Progress


def encode(saved: Saved) -> bytes:
    """Return a checkpoint as bytes: a line that names the format, its SHA-256, and its arrays."""
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
        If the format or the checksum is wrong.
    """
    digest, _, body = content.removeprefix(_MAGIC).partition(b"\n")
    if not content.startswith(_MAGIC):
        raise CheckpointError(f"a checkpoint must begin with {_MAGIC.decode().strip()!r}, got a file of another form")
    if hashlib.sha256(body).hexdigest().encode() != digest:
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
