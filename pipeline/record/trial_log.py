"""The log of a trial: one line an event, with its time in UTC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from pipeline.plan.plan import PlannedTrial
from pipeline.record.points import Block
from pipeline.record.protocol import CLOCKED
from pipeline.reports import Layout
from tasks.events import Outcome, Result

TRIAL_LOG = "trial.log"

_LOGGED = "val/"
"""The prefix of the metrics whose points are logged: training has too many, and its curves hold them."""


class TrialLog:
    """Collects the lines of a trial; ``now`` is when the recorder got the report, in milliseconds since the epoch.

    The same line at the same time is one line, so an event that is reported twice is logged once.
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[int, str], None] = {}

    def start(self, trial: PlannedTrial, data: str, host: str, step: int, now: int) -> None:
        """Log that the trial has started: on what data, where, and from which step on."""
        place, begin = f" on {host}" if host else "", f", from step {step}" if step else ""
        self._add(now, f"started{place}: {trial.name}, {trial.trial.steps} steps on {data}{begin}")

    def retry(self, attempt: int, error: str, now: int) -> None:
        """Log that the trial is retried after an error."""
        self._add(now, f"attempt {attempt}, after: {error}")

    def points(self, points: Sequence[Block]) -> None:
        """Log the points of the validation metrics, one line a step."""
        by_step: dict[tuple[int, int], dict[str, float]] = {}
        for metric, values, times, steps in points:
            if metric.startswith(_LOGGED):
                for step, time, value in zip(steps.tolist(), times.tolist(), values.tolist(), strict=True):
                    by_step.setdefault((step, time), {})[metric] = value
        for (step, time), metrics in sorted(by_step.items()):
            self._add(time, f"step {step}: {_numbers(metrics)}")

    def finish(self, result: Result, last: Mapping[str, float], layout: Layout, now: int) -> None:
        """Log how a trial ended by itself, the last values of its metrics, and what it was computed on."""
        message = f": {result.message}" if result.message else ""
        self._add(now, f"{result.outcome.value} at step {result.step}{message}")
        self._add(now, f"at the end: {_numbers(last)}")
        place = f"place {layout.slot} of {layout.width}, {layout.threads} threads, {layout.blas}"
        self._add(now, f"computed on {layout.host}, {layout.device}: {place}")

    def fail(self, error: str, now: int) -> None:
        """Log that the trial raised, or was lost with its worker."""
        self._add(now, f"{Outcome.FAILED.value}: {error}")

    def kill(self, now: int) -> None:
        """Log that the trial was killed."""
        self._add(now, "killed: its sweep was stopped")

    def text(self) -> str:
        """Return the log."""
        return "".join(f"{_time(time)} {text}\n" for time, text in sorted(self._lines, key=lambda line: line[0]))

    def _add(self, now: int, text: str) -> None:
        self._lines[now, text.strip().replace("\n", "\n    ")] = None


def _numbers(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.6g}" for name, value in sorted(metrics.items()) if not name.startswith(CLOCKED))


def _time(now: int) -> str:
    return datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
