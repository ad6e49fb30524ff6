"""The failures of a sweep, grouped by kind: which trials, where in their code, and how to rerun one."""

from __future__ import annotations

import shlex
from collections.abc import Sized
from dataclasses import dataclass, field

from pipeline.errors import TrialsFailedError
from pipeline.plan.plan import PlannedTrial
from pipeline.reports import Failed
from pipeline.results.fault_log import FaultLog

MAX_KINDS = 5
"""The most kinds of failures that are printed; the log holds all."""

MAX_NAMES = 3


@dataclass(slots=True, kw_only=True)
class _Kind:
    """Trials that failed in the same way: by the same error at the same place, or with the same message."""

    first: Failed
    logged: bool
    trials: list[PlannedTrial] = field(default_factory=list)


class Failures:
    """Collects the failed ones of all ``trials``; the full traceback of each kind goes into ``log``."""

    def __init__(self, trials: Sized, log: FaultLog) -> None:
        self._trials = trials
        self._log = log
        self._kinds: dict[str, _Kind] = {}

    def add(self, failed: Failed) -> bool:
        """Add a failure, and return whether it is to be shown at once: the first of its kind in a sweep."""
        name = (failed.raised.place if failed.raised else "") or failed.error
        fresh = name not in self._kinds
        if fresh:
            logged = self._log.write(f"{failed.trial.name}: {failed.error}", failed.traceback)
            self._kinds[name] = _Kind(first=failed, logged=logged)
        self._kinds[name].trials.append(failed.trial)
        return fresh and len(self._trials) > 1

    def error(self) -> TrialsFailedError:
        """Return the error with the message of all failures; its notes hold the tracebacks."""
        kinds = sorted(self._kinds.values(), key=lambda kind: -len(kind.trials))
        more = [f"and {len(kinds) - MAX_KINDS} more kinds of failures"] if len(kinds) > MAX_KINDS else []
        error = TrialsFailedError(
            "\n".join([*map(self._message, kinds[:MAX_KINDS]), *more]) or "a trial has not finished"
        )
        for kind in kinds:
            error.add_note(f"{kind.first.trial.name}:\n{kind.first.traceback}")
        if len(self._trials) == 1 and kinds and kinds[0].first.raised is not None:
            error.__cause__ = kinds[0].first.raised.exception
        return error

    def _message(self, kind: _Kind) -> str:
        first, count, every = kind.first, len(kind.trials), len(self._trials)
        who = f"{count} of {every} trials failed" if every > 1 else "the trial failed"
        lines = [f"{who}: {first.error}"]
        if first.raised is not None:
            lines.append(first.raised.frames.rstrip("\n"))
        names = [trial.name for trial in sorted(kind.trials, key=lambda trial: trial.index)[:MAX_NAMES]]
        more = f" and {count - MAX_NAMES} more" if count > MAX_NAMES else ""
        if every > 1:
            lines.append(f"  trials: {', '.join(names)}{more}")
        if first.traceback:
            places = [str(self._log.path)] if kind.logged else []
            lines.append(f"  in full: {' and '.join([*places, 'traceback.txt in the record of each'])}")
            lines.append(f"  rerun one here in a debugger: {rerun_command(first.trial)}")
        return "\n".join(lines)


def rerun_command(trial: PlannedTrial) -> str:
    """Return the command that runs a trial alone in its own process, and stops in a debugger where it raises."""
    overrides = [text for text in trial.overrides if not text.lstrip("+").startswith(("engine=", "cluster", "sweep."))]
    command = ["python", "-m", "pdb", "-c", "continue", "-m", "pipeline", *overrides, "engine=inprocess"]
    return f"HYDRA_FULL_ERROR=1 {shlex.join(command)}"
