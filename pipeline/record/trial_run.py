"""A trial's run: its config, its points (each once), its log, its end and its arrays, as changes in the outbox."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np

from pipeline.output import TrialOutput
from pipeline.plan.plan import PlannedTrial
from pipeline.record import artifacts
from pipeline.record.outbox import Block, Change, Outbox, point
from pipeline.record.protocol import Opened, Recalled
from pipeline.reports import Failed, Finished, Layout, Printed, Progressed, Retried, Started, TrialReport
from pipeline.results.curves import Curves, Series
from pipeline.results.numbers import number
from tasks.events import Curve, Outcome, Result

TRIAL_LOG = "trial.log"
"""The file of what happened to a trial: one line an event, with its time in UTC."""

INDEX_TAG = "index"
"""The tag of a trial's run that holds its index in the sweep, which ranks trials whose results are equal."""

OUTPUT = "output.txt"
"""The file of the output that a trial's own code has printed and logged."""


class TrialRun:
    """The run of one trial: ``run`` is the recorder's name of it, ``now`` its start in milliseconds since the epoch.

    ``ended`` says whether it has ended, ``result`` is there if it ended by itself. ``output``, that of the trial's own
    code, becomes a file when the run ends.
    """

    def __init__(self, run: str, trial: PlannedTrial, outbox: Outbox, now: int) -> None:
        self.id = run
        self.trial = trial
        self.points = RunPoints(now)
        self.ended = False
        self.result: Result | None = None
        self._outbox = outbox
        self._began = now
        self._lines: list[str] = []
        self.output = TrialOutput()

    def start(self, opened: Opened, started: Started, setting: Mapping[str, str]) -> None:
        """Create the run, with the trial's config, its provenance and its setting."""
        place = f" on {started.host}" if started.host else ""
        begin = f", from step {started.step}" if started.step else ""
        steps = f"{self.trial.trial.steps} steps on {opened.data.name}"
        self._log(f"started{place}: {self.trial.name}, {steps}{begin}", self._began)
        tags = artifacts.run_tags(opened.provenance.tags, self.trial.overrides, opened.data)
        tags |= {"layout.host": started.host, "started.step": str(started.step)} if started.host else {}
        files = artifacts.config_files(self.trial.config, self.trial.overrides)
        tags |= {"key": self.trial.key, "config.sha256": artifacts.digest_of(files[artifacts.CONFIG].encode())}
        if opened.parent:
            tags |= {"mlflow.parentRunId": opened.parent, INDEX_TAG: str(self.trial.index), **setting}
        else:  # a sweep's own run holds them for all of its trials
            files |= artifacts.attached(opened.provenance.attachments, (self.trial,), opened.data)
        change = self._change
        part_of_key = f" ... ({self.trial.key[:8]})"  # names that begin alike stay different
        change.name = artifacts.shorten(self.trial.name, artifacts.LONGEST_NAME, part_of_key)
        change.start = self._began
        change.tags |= tags
        change.params |= artifacts.params(self.trial.config)
        change.data = opened.data.name, opened.data.digest
        self._outbox.add_texts(self.id, files)

    def recall(self, recalled: Recalled) -> None:
        """Restore the state of a run that ended before the log began; nothing is written."""
        self.ended, self.result = True, dataclasses.replace(recalled.result, arrays={})
        for curve in recalled.curves:
            self.points.add(curve, self._began)
        self.points.end(recalled.result, self._began)

    def take(self, report: TrialReport | Retried, now: int) -> None:
        """Write a report of the trial."""
        match report:
            case Progressed(curve=curve):
                self._change.points += self.points.add(curve, now)
            case Printed(text=text):
                self.output.add(text)
            case Finished():
                self._finish(report.result, report.layout, now)
            case Failed(error=error):
                self._log(f"{Outcome.FAILED.value}: {error}", now)
                self._outbox.add_texts(self.id, {artifacts.TRACEBACK: report.traceback})
                self._end("FAILED", Outcome.FAILED.value, error, now)
            case Retried(attempt=attempt):
                error = f"{report.error}; from step {report.step}"
                self._log(f"attempt {attempt}, after: {error}", now)
                self._change.tags |= {"attempts": str(attempt), f"attempt.{attempt - 1}.error": error}

    def kill(self, now: int, why: str = "") -> None:
        """Write the end of a trial that was killed, if it has not ended."""
        if not self.ended:
            self._log(f"killed: {why or 'its sweep was stopped'}", now)
            self._end("KILLED", "killed", why, now)

    def _finish(self, result: Result, layout: Layout, now: int) -> None:
        """Write the end of a trial that ended by itself."""
        change = self._change
        change.points += self.points.end(result, now)
        self.result = dataclasses.replace(result, arrays={}, metrics={**self.points.curves.last(), **result.metrics})
        change.tags |= {"outcome.step": str(result.step)} | artifacts.layout_tags(layout)
        change.key, change.arrays = self.trial.key, result.arrays
        message = f": {result.message}" if result.message else ""
        self._log(f"{result.outcome.value} at step {result.step}{message}", now)
        numbers = (f"{name} {number(value, 6)}" for name, value in sorted(self.points.curves.last().items()))
        self._log(f"at the end: {', '.join(numbers)}", now)
        place = f"place {layout.slot} of {layout.width}, {layout.threads} threads, {layout.blas}"
        self._log(f"computed on {layout.host}, {layout.device}: {place}", now)
        status = "FAILED" if result.outcome is Outcome.FAILED else "FINISHED"
        self._end(status, result.outcome.value, result.message, now)

    def _end(self, status: str, outcome: str, message: str, now: int) -> None:
        """End the run, with the trial's log and its output if there is any; forget these two."""
        self.ended = True
        self._change.end = status, now
        self._change.tags |= {"outcome": outcome} | ({"outcome.message": message} if message else {})
        log, output = "".join(self._lines), self.output.text()
        self._lines, self.output = [], TrialOutput()
        self._outbox.add_texts(self.id, {TRIAL_LOG: log} | ({OUTPUT: output} if output else {}))

    def _log(self, text: str, now: int) -> None:
        """Log an event; what it says in more than one line is indented."""
        time = datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._lines.append(f"{time} {text.strip()}".replace("\n", "\n    ") + "\n")

    @property
    def _change(self) -> Change:
        return self._outbox.change(self.id)


class RunPoints:
    """Remembers the points of a run, its ``curves``, so that a group that is retried writes none twice.

    ``now`` is when the run started, in milliseconds since the epoch.
    """

    def __init__(self, now: int) -> None:
        self.curves = Curves()
        self._last_arrival = now
        self._last: dict[str, int] = {}
        self._nans: dict[str, tuple[int, int]] = {}

    def add(self, curve: Curve, now: int) -> list[Block]:
        """Return the new points of ``curve``, which arrived at ``now``.

        A NaN means no point. The steps were computed between the last arrival and this one, so the timestamps are
        spread evenly over that time: a chart against time shows a curve and no staircase.
        """
        times = np.linspace(self._last_arrival, now, len(curve.steps) + 1)[1:].astype(np.int64)
        self._last_arrival = now
        points: list[Block] = []
        for metric, values in curve.metrics.items():
            if len(values) and np.isnan(values[-1]):
                self._nans[metric] = (int(curve.steps[-1]), int(times[-1]))
            new = ~np.isnan(values) & (curve.steps > self._last.get(metric, -1))
            if new.any():
                points.append(self._keep((metric, values[new], times[new], curve.steps[new])))
        return points

    def end(self, result: Result, now: int) -> list[Block]:
        """Return the points that only the result gives.

        They are the metrics whose curves do not reach its step, and the NaNs at the step at which a trial diverged:
        there the metric was NaN.
        """
        points: list[Block] = []
        for metric, value in result.metrics.items():
            if result.step > self._last.get(metric, -1) and not math.isnan(value):
                points.append(self._keep(point(metric, value, now, result.step)))
        if result.outcome is Outcome.DIVERGED:
            for metric, (step, time) in self._nans.items():
                if step == result.step and step > self._last.get(metric, -1):
                    points.append(self._keep(point(metric, math.nan, time, step)))
        return points

    def _keep(self, block: Block) -> Block:
        metric, values, _, steps = block
        self._last[metric] = int(steps[-1])
        self.curves.add(metric, Series(steps=steps, values=values))
        return block
