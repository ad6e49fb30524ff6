"""The tally of a sweep: the standing of every trial, from the reports so far."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from pipeline.config.settings import SweptValues, cell_of, counted, setting_names
from pipeline.plan.plan import PlannedTrial
from pipeline.reports import Failed, Finished, Progressed, TrialReport
from pipeline.results.criterion import Criterion
from pipeline.results.numbers import number
from pipeline.results.repeats import FRONT, RankKey, Setting, as_setting, on_front_of, rank, rank_setting, ranked
from pipeline.results.standing import Standing
from tasks.events import Outcome, Result
from tasks.trial import Trial

_OPEN = (None, Outcome.FAILED)


class Tally:
    """Collects the reports of a sweep, whose trials are ranked by the ``criterion``.

    ``share`` is the share of all steps that is expected to be done, if a rule stops trials. ``cost_done`` and
    ``cost_total`` are those of the steps, each of which has its trial's ``step_cost``, in any unit.
    """

    def __init__(
        self,
        trials: Sequence[PlannedTrial] = (),
        criterion: Criterion | None = None,
        *,
        share: float = 1.0,
        step_cost: Callable[[Trial], float] = lambda _: 1.0,
    ) -> None:
        self.criterion = criterion or Criterion()
        self.standings: dict[str, Standing] = {}
        self._repeats: dict[str, list[Standing]] = {}  # by the key of their setting
        self._open: Counter[str] = Counter()  # how many of them have not ended, or may be run again
        self.swept_values = SweptValues()  # by which further trials are named before they are added
        self._names: dict[str, str] | None = None
        self._rank_keys: dict[str, RankKey] = {}
        self._leading: str | None = None
        # Settings whose rank is stale; ranking is deferred, since many repeats take long.
        self._moved: dict[str, None] = {}
        self._share, self._step_cost = share, step_cost
        self._step_costs: dict[str, float] = {}
        self._nans: dict[str, dict[str, int]] = {}  # of running trials: the step at which a metric became NaN
        self.cost_total = 0.0
        self.add(trials)
        self.cost_done = 0.0
        self._started = 0
        self.paused = set[str]()
        self.done = 0
        self.failed = 0

    def add(self, trials: Sequence[PlannedTrial]) -> None:
        """Add trials."""
        new = [trial for trial in trials if trial.key not in self.standings]
        for trial in new:
            standing = self.standings[trial.key] = Standing(trial=trial, criterion=self.criterion)
            self._repeats.setdefault(standing.setting, []).append(standing)
            self._open[standing.setting] += 1
            self.swept_values.add(standing.used)
            step_cost = self._step_costs[trial.key] = self._step_cost(trial.trial)
            self.cost_total += self._share * trial.trial.steps * step_cost
        if new:
            self._names = None  # names hold the keys that differ, which may have changed

    def count(self, report: TrialReport) -> Standing:
        """Count a report, and return the trial's standing."""
        standing = self._begin(report.trial.key)
        match report:
            case Progressed(curve=curve):
                last = int(curve.steps[-1])
                self._advance(standing, last)
                for name, values in curve.metrics.items():
                    known = values[~np.isnan(values)]
                    if len(known):
                        standing.metrics[name] = float(known[-1])
                    if np.isnan(values[-1]):
                        self._nans.setdefault(report.trial.key, {})[name] = last
            case Finished(result=result):
                self._finish(standing, result)
            case Failed(error=error):
                self.failed += 1
                self._end(standing, Outcome.FAILED, error)
        return standing

    def add_ended(self, key: str, result: Result) -> None:
        """Add the result of a trial that ended in an earlier process."""
        self._finish(self._begin(key), result)

    def pause(self, trials: Sequence[PlannedTrial]) -> None:
        """Count trials as paused until more is reported of them."""
        self.paused |= {trial.key for trial in trials}

    @property
    def running(self) -> int:
        """How many trials have started, and have neither ended nor paused."""
        return self._started - self.done - len(self.paused)

    @property
    def best(self) -> Standing | None:
        """The best repeat of the setting that leads."""
        self._compare()
        return None if self._leading is None else min(self._repeats[self._leading], key=rank)

    @property
    def repeated(self) -> bool:
        """Whether any setting has more than one repeat; if none has, a setting is a trial."""
        return len(self._repeats) < len(self.standings)

    def leader(self) -> str:
        """Return the mean and the name of the best setting as text, empty if there is none."""
        if (best := self.best) is None:
            return ""
        if not self.repeated:
            return f"{number(best.value)} ({best.trial.name})"
        values = [one.value for one in self._repeats[best.setting] if one.score > -math.inf]
        mean = number(sum(values) / len(values))
        return f"{mean} ({self.setting_name(best.trial)}, {counted(len(values), 'repeat')})"

    def setting_of(self, trial: PlannedTrial) -> str:
        """Return the key of a trial's setting."""
        return self.standings[trial.key].setting

    def setting_name(self, trial: PlannedTrial) -> str:
        """Return the name of a trial's setting, which is the trial's own name if there are no repeats."""
        if not self.repeated:
            return trial.name
        if self._names is None:
            firsts = [repeats[0].used for repeats in self._repeats.values()]
            self._names = dict(zip(self._repeats, setting_names(firsts, self.criterion.over), strict=True))
        return self._names[self.setting_of(trial)]

    def swept(self) -> dict[str, list[Any]]:
        """Return what differs between the trials, each key with its values."""
        return self.swept_values.values()

    def leading(self, most: int) -> list[Setting]:
        """Return the first so many of `settings`, of those in which a trial has begun."""
        self._compare()
        return self._ranked(heapq.nsmallest(most, self._rank_keys, key=self._rank_keys.__getitem__))

    def settings(self) -> list[Setting]:
        """Return the settings, the best first."""
        return self._ranked(self._repeats)

    def rank_key(self, key: str) -> RankKey:
        """Return the sort key of the setting with this key; the best has the least."""
        self._compare()
        return self._rank_keys[key]

    def has_ended(self, key: str) -> bool:
        """Return whether all known repeats of a setting have ended; one that failed may be run again."""
        return not self._open[key]

    def ranking(self) -> list[Standing]:
        """Return the standings, the best first; trials stopped early follow, those without a score are last."""
        return sorted(self.standings.values(), key=rank)

    def first(self, most: int) -> list[Standing]:
        """Return the first so many of the ranking, of those that have begun."""
        return heapq.nsmallest(most, (one for one in self.standings.values() if one.started), key=rank)

    def table(self) -> list[dict[str, Any]]:
        """Return the ranking as rows of plain values: each trial with its swept values and its metrics."""
        ranking = self.ranking()
        varied, front = self.swept(), {} if self.repeated else on_front_of(self.settings())
        names = dict.fromkeys(self.criterion.columns(standing.metrics for standing in ranking))
        names |= dict.fromkeys(sorted({name for standing in ranking for name in standing.metrics}))
        return [
            {"trial": standing.trial.name, "outcome": standing.outcome_text}
            | {key: cell_of(key, standing.used) for key in varied}
            | {name: standing.metrics.get(name) for name in names}
            | ({FRONT: front[standing.setting]} if front else {})
            | {"step": standing.step, "message": standing.message, "run_id": standing.run_id}
            for standing in ranking
        ]

    def _ranked(self, keys: Iterable[str]) -> list[Setting]:
        every = [self._repeats[key] for key in keys]
        return ranked(as_setting(self.setting_name(repeats[0].trial), repeats) for repeats in every)

    def _begin(self, key: str) -> Standing:
        standing = self.standings[key]
        self._started += not standing.started
        standing.started = True
        self._moved[standing.setting] = None
        self.paused.discard(key)
        return standing

    def _finish(self, standing: Standing, result: Result) -> None:
        nans = self._nans.pop(standing.trial.key, {})
        if result.outcome is Outcome.DIVERGED:  # where it diverged a NaN is a point, as in the record
            standing.metrics |= {name: math.nan for name, step in nans.items() if step == result.step}
        standing.metrics |= result.metrics
        self.failed += result.outcome is Outcome.FAILED  # by its own verdict
        self._advance(standing, result.step)
        self._end(standing, result.outcome, result.message)
        standing.step = result.step

    def _compare(self) -> None:
        """Find the best setting again after standings have changed."""
        for key in self._moved:
            place = self._rank_keys[key] = rank_setting(self._repeats[key])
            if self._leading == key:  # it may have become worse, or diverged
                self._leading = min(self._rank_keys, key=self._rank_keys.__getitem__)
            elif self._leading is None or place < self._rank_keys[self._leading]:
                self._leading = key
            if self._rank_keys[self._leading][0]:
                self._leading = None
        self._moved = {}

    def _advance(self, standing: Standing, step: int) -> None:
        self.cost_done += max(0, step - standing.step) * self._step_costs[standing.trial.key]
        standing.step = max(step, standing.step)

    def _end(self, standing: Standing, outcome: Outcome, message: str) -> None:
        # A stopped trial stays at its step; the remaining steps of a diverged one count as done.
        self._advance(standing, standing.step if outcome is Outcome.STOPPED else standing.trial.trial.steps)
        self.done += 1
        self._open[standing.setting] -= (standing.outcome in _OPEN) - (outcome in _OPEN)
        standing.outcome, standing.message = outcome, message
