"""Resuming a sweep: its key, what its record and checkpoints hold, and what is left to compute."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
import shlex
import sys
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.address import redact
from pipeline.config.schema import SEEDS, Config, describe
from pipeline.plan.plan import PlannedTrial, Progress
from pipeline.record.protocol import Past
from pipeline.stopping.rung_system import Decision
from pipeline.sweep.checkpoints import Checkpoints
from tasks.events import Result

SCRIPT = "descent-sweeps"
"""The name of the command; ``python -m pipeline`` is the same command."""


def sweep_key(trials: Sequence[PlannedTrial], config: Config, identity: str = "") -> str:
    """Return the key of a sweep: a digest of its trials' keys, in any order, its name and its stopping rule.

    For a sweep whose trials are not all known from the start, it holds its ``identity``, the first trial and how often
    each is repeated instead.
    """
    repeats = [f"{config.sweep.repeats} repeats"] if config.sweep.repeats > 1 else []
    keys = [identity, trials[0].key, *repeats] if identity else sorted(trial.key for trial in trials)
    rule = [json.dumps(_rule(config), sort_keys=True)] if config.stopping.stops else []
    return hashlib.sha256("\n".join([config.sweep.name or "", *keys, *rule]).encode()).hexdigest()


def _rule(config: Config) -> dict[str, Any]:
    """Return the keys of a stopping rule, with those of the sweep by which it compares, where they are not defaults.

    A resume goes on from the scores in the record, so it must compare by the same.
    """
    rule, sweep = config.stopping, config.sweep
    compared = {
        "sweep.metric": None if rule.metric else sweep.metric,
        "sweep.mode": sweep.mode if rule.mode is None and rule.metric in {None, sweep.metric} else None,
        "sweep.over": None if sweep.over == SEEDS else sweep.over,
    }
    taken = {key: value for key, value in compared.items() if value is not None}
    return {**describe(config)["stopping"], **taken}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """The state that an earlier process has left of a sweep, if one was ``found``.

    ``ended`` are the results of trials and ``saved`` is the progress of others, by key.
    ``decisions`` are those made at rungs, ``proposals`` the overrides of a search's points in the batches in which they
    were made, ``damaged`` the checkpoint files that could not be used.
    """

    found: bool = False
    ended: Mapping[str, Result] = field(default_factory=dict)
    saved: Mapping[str, Progress] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    proposals: tuple[Sequence[Sequence[str]], ...] = ()
    damaged: tuple[Path, ...] = ()

    @classmethod
    def of(cls, past: Past, checkpoints: Checkpoints | None) -> Resumption:
        """Return the resumption from a record and its checkpoints."""
        return cls(
            found=True,
            ended=past.ended,
            saved=checkpoints.load() if checkpoints else {},
            decisions=past.decisions,
            proposals=past.proposals,
            damaged=tuple(checkpoints.damaged) if checkpoints else (),
        )

    def in_batches(self, trials: Sequence[PlannedTrial], *, repeats: int) -> list[list[PlannedTrial]]:
        """Return trials in the batches in which their points were proposed: a rung depends on who was there when."""
        ends = list(itertools.accumulate(repeats * len(made) for made in self.proposals))
        batches: defaultdict[int, list[PlannedTrial]] = defaultdict(list)
        for trial in trials:
            batches[bisect.bisect_right(ends, trial.index)].append(trial)
        return [batches[number] for number in sorted(batches)]

    def counts(self, keys: Collection[str]) -> tuple[int, int, int]:
        """Return how many of these trials have ended, how many go on from a checkpoint, and how many start."""
        ended = sum(key in self.ended for key in keys)
        further = sum(key in self.saved and key not in self.ended for key in keys)
        return ended, further, len(keys) - ended - further


def resume_command() -> str:
    """Return the command line of this process with ``sweep.resume=true``, and without credentials."""
    arguments = [redact(text) for text in sys.argv[1:] if not text.startswith("sweep.resume=")]
    script = Path(sys.argv[0]).name == SCRIPT
    return shlex.join([*([sys.argv[0]] if script else ["python", "-m", "pipeline"]), *arguments, "sweep.resume=true"])
