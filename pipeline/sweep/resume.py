"""Resuming a sweep: the key by which its record is found, and the command."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.address import redact
from pipeline.config.schema import SEEDS, Config, describe
from pipeline.plan.plan import PlannedTrial

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


def resume_command() -> str:
    """Return the command line of this process with ``sweep.resume=true``, and without credentials."""
    arguments = [redact(text) for text in sys.argv[1:] if not text.startswith("sweep.resume=")]
    script = Path(sys.argv[0]).name == SCRIPT
    return shlex.join([*([sys.argv[0]] if script else ["python", "-m", "pipeline"]), *arguments, "sweep.resume=true"])
