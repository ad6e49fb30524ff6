"""The scheduler of a sweep's trials: which segment each computes next, and which pause, go on or stop at a rung."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.config.schema import Config
from pipeline.config.settings import SweptValues, setting_key, setting_names, used_values
from pipeline.plan.plan import Group, PlannedTrial, Progress, Segment, fuse
from pipeline.reports import Decided, Failed, Finished, Paused, Report
from pipeline.results.criterion import Criterion, mode_of
from pipeline.results.curves import Curves
from pipeline.stopping.checks import rung_range
from pipeline.stopping.rung_system import Decision, RungSystem
from pipeline.sweep.spilling import spilled
from tasks.cost import DataSize
from tasks.datasets.dataset import Dataset
from tasks.errors import ConfigError
from tasks.events import Checkpoint, Outcome, Result
from tasks.models.model import as_matrices
from tasks.trial import DeclaresPoints, Trial, uses_model


class TrialScheduler:
    """Keeps the segments to compute next, and the trials that have paused; it computes nothing.

    Without a stopping rule a trial goes from its beginning, or from an earlier process's checkpoint, to its end. With
    a rule it goes from rung to rung: `process` handles the reports, `decide` makes the decisions, `groups` returns the
    groups to compute. The checkpoints of large paused trials are spilled to ``folder``.
    """

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        criterion: Criterion,
        *,
        widest: Callable[[Sequence[Trial]], int],
        folder: Path,
    ) -> None:
        self._rule, self._dataset, self._widest, self._folder = config.stopping, dataset, widest, folder
        self._data_size = DataSize.of(dataset)
        self._over = criterion.over
        self._metric = self._rule.metric or criterion.metric
        own = criterion.mode if self._metric == criterion.metric else mode_of(self._metric)
        self._sign = 1 if (self._rule.mode or own) == "max" else -1
        self._rungs = RungSystem(self._rule)
        self._reported: set[str] = set()  # the metrics of trials that have arrived at a rung
        self._next: list[Segment] = []
        self._paused: dict[str, Paused] = {}  # each trial alone
        self._failed: set[str] = set()
        self._names: dict[str, str] = {}
        self._swept = SweptValues()  # of the settings that are named
        self._replayed: deque[Decision] = deque()  # decisions of an earlier process on settings that are not all known

    @property
    def settled(self) -> bool:
        """Whether nothing is left to be decided on the trials so far."""
        return self._rungs.settled

    def add(self, trials: Sequence[PlannedTrial]) -> None:
        """Add the trials of a batch, ended ones too, since the others are compared with them."""
        compared = [trial for trial in trials if trial.trial.task.trains]
        if not self._rule.stops or not compared:
            return
        settings: dict[str, list[str]] = {}
        used = [used_values(trial.trial) for trial in compared]
        names = setting_names(used, self._over, self._swept)
        for trial, values, name in zip(compared, used, names, strict=True):
            setting = setting_key(values, self._over)
            settings.setdefault(setting, []).append(trial.key)
            self._names.setdefault(setting, name)
        first, last = rung_range(self._rule, compared[0].trial, self._metric)
        self._rungs.add(settings, first=first, last=last)
        while self._replayed and self._rungs.knows(self._replayed[0]):
            self._rungs.replay(self._replayed.popleft())

    def replay(self, decisions: Sequence[Decision]) -> None:
        """Apply the decisions of an earlier process, each as soon as all settings that it is about are added."""
        self._replayed.extend(decisions)

    def end(self, trial: PlannedTrial, result: Result, curves: Curves | None = None) -> None:
        """Record the end of a trial; of one that ended in an earlier process, with its ``curves``.

        If the decisions on that one are lost, it is compared by these at the rungs where it has been.
        """
        # A user's own task may complete before its last rung; a stopped trial counts here if its decision is lost.
        compared = result.outcome in (Outcome.COMPLETE, Outcome.STOPPED)
        value = result.metrics.get(self._metric, math.nan) if compared else math.nan
        measured = curves.series().get(self._metric) if curves is not None and self._rule.stops else None
        points: dict[int, float] = {}
        if measured is not None:
            pairs = zip(measured.steps.tolist(), self._scores(measured.values), strict=True)
            # Where it diverged it does not pass.
            points = {step: value for step, value in pairs if compared or step < result.step}
        (score,) = self._scores(np.array([value]))
        self._rungs.end(trial.key, score, points)

    def schedule(self, trial: PlannedTrial, start: Progress | None = None) -> None:
        """Schedule a trial from ``start`` (None: its beginning) to its next rung or its end."""
        self._next.append(Segment(trial=trial, start=start, until=self._rungs.next_rung(trial.key)))

    def process(self, report: Report) -> Iterator[Finished]:
        """Process a report; yield the ends of trials that arrive at a rung where they were already stopped."""
        if isinstance(report, Paused):
            for one in report.each():
                yield from self._arrive(one)
        elif isinstance(report, Failed):
            self._failed.add(report.trial.key)
            self._rungs.end(report.trial.key)
        elif isinstance(report, Finished):
            self.end(report.trial, report.result)

    def _arrive(self, one: Paused) -> Iterator[Finished]:
        (trial,) = one.trials
        rung = self._rungs.next_rung(trial.key)
        if self._rungs.is_stopped(trial.key):
            yield stopped(one, self._dataset)
        elif rung is None or one.progress.checkpoint.step < rung:
            self.schedule(trial, one.progress)  # it has already passed, by a decision of an earlier process
        else:
            self._paused[trial.key] = dataclasses.replace(one, progress=spilled(one.progress, self._folder))
            self._reported.update(*(curve.metrics for curve in one.progress.curves))
            self._rungs.arrive(trial.key, self._history(one.progress, rung))

    def decide(self, *, closed: bool) -> Iterator[Decided | Finished]:
        """Yield the decisions, and the ends of stopped trials; ``closed``: no more trials will be added for now.

        One by which none goes on and none is stopped, as they failed, is not told: a resume runs these again, and would
        stop all of them.

        Raises
        ------
        ConfigError
            If no trial goes on because none reports the metric, which a user's own task does not declare.
        """
        for decision in self._rungs.decide(closed=closed):
            out = [key for key in self._rungs.trials(decision.stopped) if key in self._paused]
            if not out and not decision.passed and self._failed.intersection(self._rungs.trials(decision.stopped)):
                continue
            if out and not decision.passed and self._metric not in self._reported:
                raise ConfigError(
                    f"{'stopping.metric' if self._rule.metric else 'sweep.metric'} must be reported where trials are "
                    f"compared, at step {decision.step}, got {self._metric!r}, and the trials report "
                    f"{', '.join(sorted(self._reported)) or 'nothing'}"
                )
            names = {setting: self._names[setting.partition(" ")[0]] for setting in decision.scores}
            yield Decided(decision=decision, names=names, metric=self._metric, sign=self._sign)
            for key in self._rungs.trials(decision.passed):
                if key in self._paused:
                    one = self._paused.pop(key)
                    self.schedule(one.trials[0], one.progress)
            for key in out:
                yield stopped(self._paused.pop(key), self._dataset)

    def groups(self, workers: int) -> tuple[Group, ...]:
        """Return the groups to compute next, balanced for so many workers."""
        segments, self._next = self._next, []
        return fuse(segments, self._data_size, workers=workers, widest=self._widest)

    def _history(self, progress: Progress, rung: int) -> list[float]:
        """Return the scores of the metric up to a rung, and NaN if there is none at the rung."""
        curves = [curve for curve in progress.curves if self._metric in curve.metrics]
        steps = np.concatenate([curve.steps for curve in curves]) if curves else np.empty(0)
        values = np.concatenate([curve.metrics[self._metric] for curve in curves]) if curves else np.empty(0)
        order = np.argsort(steps, kind="stable")
        here = self._scores(values[order][steps[order] <= rung])
        return here if rung in steps else [*here, math.nan]

    def _scores(self, values: np.ndarray) -> list[float]:
        """Return the scores of values, larger is better; an infinite one is never the best, as in the ranking."""
        return [math.nan if score == math.inf else score for score in (self._sign * values).tolist()]


def stopped(one: Paused, dataset: Dataset) -> Finished:
    """Return the end of a trial that has paused, alone in ``one``, and is stopped early."""
    (planned,), (layout,) = one.trials, one.layouts
    trial, checkpoint = planned.trial, one.progress.checkpoint
    step = checkpoint.step
    metrics = {
        name: float(values[curve.steps == step][0])
        for curve in one.progress.curves
        for name, values in curve.metrics.items()
        if step in curve.steps and (name.startswith("val/") or not isinstance(trial.task, DeclaresPoints))
    }
    result = Result(
        trial=0,
        outcome=Outcome.STOPPED,
        step=step,
        metrics=metrics,
        arrays=_weights(trial, checkpoint, dataset),
    )
    return Finished(trial=planned, result=result, layout=layout)


def _weights(trial: Trial, checkpoint: Checkpoint, dataset: Dataset) -> dict[str, np.ndarray]:
    """Return the parameters of a paused trial by name; nothing for a task with a model of its own."""
    if not uses_model(trial):
        return {}
    shapes = trial.model.shapes(dataset.image_shape, len(dataset.classes))
    return dict(zip(shapes, as_matrices(checkpoint.arrays["weights"][0], list(shapes.values())), strict=True))
