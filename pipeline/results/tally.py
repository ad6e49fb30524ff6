"""The tally of a sweep: where every trial stands, from the reports so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.config.settings import settings, swept, text_of
from pipeline.plan.plan import PlannedTrial
from pipeline.reports import Failed, Finished, Progressed, Started, TrialReport
from pipeline.results.criterion import Criterion
from tasks.events import Outcome, Result

COLUMNS = ("val/accuracy", "train/accuracy", "test/accuracy", "train/loss", "val/loss")
"""The metrics that tables show of a training."""


@dataclass(slots=True, kw_only=True)
class Standing:
    """What is known of a trial: its step, the last value of each metric, and its outcome once it has one."""

    trial: PlannedTrial
    criterion: Criterion = field(default_factory=Criterion)
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    started: bool = False
    outcome: Outcome | None = None
    message: str = ""

    @property
    def score(self) -> float:
        """What trials are ordered by, more being better, minus infinity where there is nothing.

        A trial that diverged or failed has nothing, so it is never the best.
        """
        return -math.inf if self.outcome in (Outcome.DIVERGED, Outcome.FAILED) else self.criterion.score(self.metrics)

    @property
    def value(self) -> float:
        """The value of the metric that trials are ranked by, the worst there is where there is none."""
        return self.criterion.sign * self.score


class Tally:
    """Follows the reports of a sweep, whose trials are ranked by the ``criterion``."""

    def __init__(self, trials: Sequence[PlannedTrial] = (), criterion: Criterion | None = None) -> None:
        self.criterion = criterion or Criterion()
        self.standings: dict[str, Standing] = {}
        self.steps_total = 0
        self.add(trials)
        self.steps_done = 0
        self.running = 0
        self.done = 0
        self.failed = 0
        self.best: Standing | None = None

    def add(self, trials: Sequence[PlannedTrial]) -> None:
        """Follow these trials too."""
        new = [trial for trial in trials if trial.key not in self.standings]
        self.standings |= {trial.key: Standing(trial=trial, criterion=self.criterion) for trial in new}
        self.steps_total += sum(trial.trial.steps for trial in new)

    def take(self, report: TrialReport) -> Standing:
        """Take a report into account, and return the trial's standing."""
        standing = self._started(report.trial.key)
        match report:
            case Started():
                pass
            case Progressed(curve=curve):
                self._advance(standing, int(curve.steps[-1]))
                for name, values in curve.metrics.items():
                    known = values[~np.isnan(values)]
                    if len(known):
                        standing.metrics[name] = float(known[-1])
            case Finished(result=result):
                self._finish(standing, result)
            case Failed(error=error):
                self.failed += 1
                self._end(standing, Outcome.FAILED, error)
        self._compare(standing)
        return standing

    def know(self, key: str, result: Result) -> None:
        """Take into account a trial that ended in an earlier process."""
        standing = self._started(key)
        self._finish(standing, result)
        self._compare(standing)

    def ranking(self) -> list[Standing]:
        """Return the standings, the best first, those without an answer last."""
        return sorted(self.standings.values(), key=lambda standing: (-standing.score, standing.trial.index))

    def table(self) -> list[dict[str, Any]]:
        """Return the ranking as rows of plain values: each trial with what was swept and all it measured."""
        ranking = self.ranking()
        used = {standing.trial.key: settings(standing.trial.trial) for standing in ranking}
        telling = swept(list(used.values()))
        names = dict.fromkeys(columns(ranking, self.criterion))
        names |= dict.fromkeys(sorted({name for standing in ranking for name in standing.metrics}))
        return [
            {"trial": standing.trial.name, "outcome": standing.outcome.value if standing.outcome else "not finished"}
            | {key: _cell(key, used[standing.trial.key]) for key in telling}
            | {name: standing.metrics.get(name) for name in names}
            | {"step": standing.step, "message": standing.message}
            for standing in ranking
        ]

    def _started(self, key: str) -> Standing:
        standing = self.standings[key]
        if not standing.started:
            standing.started = True
            self.running += 1
        return standing

    def _finish(self, standing: Standing, result: Result) -> None:
        standing.metrics |= result.metrics
        self._end(standing, result.outcome, result.message)
        standing.step = result.step

    def _compare(self, standing: Standing) -> None:
        if self.best is standing:  # it may have become worse, or diverged
            leader = self.ranking()[0]
            self.best = leader if leader.score > -math.inf else None
        elif standing.score > (self.best.score if self.best else -math.inf):
            self.best = standing

    def _advance(self, standing: Standing, step: int) -> None:
        self.steps_done += max(0, step - standing.step)
        standing.step = max(step, standing.step)

    def _end(self, standing: Standing, outcome: Outcome, message: str) -> None:
        self._advance(standing, standing.trial.trial.steps)
        self.running -= 1
        self.done += 1
        standing.outcome, standing.message = outcome, message


def columns(standings: Sequence[Standing], criterion: Criterion) -> list[str]:
    """Return the metrics to show of some trials beside each other: what ranks them first, then what trainings have."""
    measured = {name for standing in standings for name in standing.metrics}
    return [name for name in dict.fromkeys((criterion.metric, *COLUMNS)) if name in measured]


def _cell(key: str, used: Mapping[str, Any]) -> Any:
    """Return a setting of a trial, nothing where the trial does not use it."""
    value = used.get(key)
    return value if isinstance(value, int | float) or key not in used else text_of(key, value)
