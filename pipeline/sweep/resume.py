"""Resuming a sweep: which sweep it is, what its record and its checkpoints hold, and what is left to compute."""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from pipeline.address import redact
from pipeline.plan.plan import Group, PlannedTrial, make_groups
from pipeline.sweep.checkpoint_file import Saved, of_keys
from tasks.cost import Extent
from tasks.trial import Trial

SCRIPT = "descent-sweeps"
"""The name of the command, which ``python -m pipeline`` is another form of."""


def sweep_key(trials: Sequence[PlannedTrial], name: str | None) -> str:
    """Return what identifies a sweep: a digest of its trials' keys, whatever their order, and of its name."""
    keys = sorted(trial.key for trial in trials)
    return hashlib.sha256("\n".join([name or "", *keys]).encode()).hexdigest()


def remaining(
    trials: Sequence[PlannedTrial],
    ended: Collection[str],
    saved: Sequence[Saved],
    *,
    extent: Extent,
    workers: int,
    widest: Callable[[Trial], int],
) -> tuple[Group, ...]:
    """Return the groups of the trials that have not ended: those with a checkpoint first, from there on.

    Which trials are computed together changes no bit of them.
    """
    left = {trial.key: trial for trial in trials if trial.key not in ended}
    groups = []
    for checkpoint in saved:
        keys = [key for key in checkpoint.keys if key in left]
        if keys:
            members = tuple(left.pop(key) for key in keys)
            groups.append(Group(trials=members, start=of_keys(checkpoint, keys).progress))
    if left:
        groups += make_groups(list(left.values()), extent, workers=workers, widest=widest)
    return tuple(groups)


def resume_command() -> str:
    """Return the command line of this process with ``sweep.resume=true``, and without credentials."""
    arguments = [redact(text) for text in sys.argv[1:] if not text.startswith("sweep.resume=")]
    script = Path(sys.argv[0]).name == SCRIPT
    return shlex.join([*([sys.argv[0]] if script else ["python", "-m", "pipeline"]), *arguments, "sweep.resume=true"])
