"""The settings of a sweep: their repeats, the statistics of these, and the ranking of the settings."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.results.criterion import Criterion
from pipeline.results.statistics import Summary, spread, summarize, summarize_each
from tasks.events import Outcome

COMPLETE, STOPPED = Outcome.COMPLETE.value, Outcome.STOPPED.value
DIVERGED, FAILED = Outcome.DIVERGED.value, Outcome.FAILED.value
_WITHOUT_ANSWER = frozenset({DIVERGED, FAILED})

RankKey = tuple[bool, bool, float, float, int]
"""The sort key of settings: no score, any repeat diverged, minus the rung that stopped it, minus the score, index."""

Seeds = tuple[tuple[str, str], ...]
"""The identity of a repeat within its setting: the keys that vary, and their values as texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A trial as a repeat of its setting: its seeds, its outcome as text, and its last metrics.

    ``index`` is its index in the sweep, ``trial`` its name, ``run_id`` the id of its run, if it has one.
    ``stopped_at`` is the step of the rung at which it was stopped, infinite if it was not.
    """

    seeds: Seeds
    outcome: str
    metrics: Mapping[str, float]
    index: int
    trial: str = ""
    run_id: str = ""
    stopped_at: float = math.inf

    @property
    def counts(self) -> bool:
        """Whether its metrics count: those of a trial that diverged or failed do not."""
        return self.outcome not in _WITHOUT_ANSWER


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting and its repeats, the best first; ``used`` are its own values."""

    key: str
    name: str
    repeats: tuple[Repeat, ...]
    criterion: Criterion
    used: Mapping[str, Any] = field(default_factory=dict)

    def values(self, metric: str) -> dict[Seeds, float]:
        """Return the finite values of a metric by seeds, of the repeats that count."""
        known = {repeat.seeds: repeat.metrics.get(metric, math.nan) for repeat in self.repeats if repeat.counts}
        return {seeds: value for seeds, value in known.items() if math.isfinite(value)}

    def summary(self, metric: str) -> Summary:
        """Return the statistics of a metric over the repeats."""
        return summarize(list(self.values(metric).values()))

    def spread(self, metric: str) -> tuple[float, float]:
        """Return the mean and the deviation of a metric over the repeats, NaN where there is none."""
        return spread(list(self.values(metric).values()))

    def counts(self) -> dict[str, int]:
        """Return the number of repeats with each outcome, complete first."""
        order = (COMPLETE, STOPPED, DIVERGED, FAILED)
        every = [repeat.outcome for repeat in self.repeats]
        names = [*order, *dict.fromkeys(name for name in every if name not in order)]
        return {name: every.count(name) for name in names if name in every}

    @property
    def score(self) -> float:
        """The score of the setting, larger is better: the mean, minus infinity without any value."""
        return mean_score([self.criterion.sign * value for value in self.values(self.criterion.metric).values()])

    @property
    def stopped_at(self) -> float:
        """The step of the rung at which its repeats were stopped, infinite if they were not."""
        return min(repeat.stopped_at for repeat in self.repeats)

    @property
    def best(self) -> Repeat | None:
        """The best repeat, None if no repeat has a score."""
        first = self.repeats[0]
        return first if first.counts and self.criterion.score(first.metrics) > -math.inf else None


def ranked(settings: Iterable[Setting]) -> list[Setting]:
    """Return settings, the best first, by `rank_key`."""
    return sorted(settings, key=_rank_key)


def _rank_key(setting: Setting) -> RankKey:
    diverged = any(repeat.outcome == DIVERGED for repeat in setting.repeats)
    index = min(repeat.index for repeat in setting.repeats)
    return rank_key(setting.score, diverged=diverged, stopped_at=setting.stopped_at, index=index)


def rank_key(score: float, *, diverged: bool, stopped_at: float, index: int) -> RankKey:
    """Return the sort key of a setting by its `mean_score`; those that were stopped come after those that were not.

    A setting with diverged repeats comes after those without: the mean of the others is biased. Settings without a
    score are last.
    """
    return score == -math.inf, diverged, -stopped_at, -score, index


def mean_score(scores: Sequence[float]) -> float:
    """Return the mean of the scores of repeats, the same in whichever order; minus infinity without any."""
    return statistics.fmean(scores) if scores else -math.inf


def ranked_repeats(repeats: Sequence[Repeat], criterion: Criterion) -> tuple[Repeat, ...]:
    """Return repeats, the best first, those that do not count last."""
    return tuple(sorted(repeats, key=lambda one: (not one.counts, -criterion.score(one.metrics), one.index)))


def are_repeated(settings: Sequence[Setting]) -> bool:
    """Return whether any setting has more than one repeat; if none has, a setting is a trial."""
    return any(len(setting.repeats) > 1 for setting in settings)


def setting_rows(settings: Sequence[Setting], swept: Sequence[str]) -> list[dict[str, Any]]:
    """Return settings as rows of plain values: the swept values, and mean, deviation and interval of each metric."""
    every = [repeat.metrics for setting in settings for repeat in setting.repeats]
    names = dict.fromkeys([*settings[0].criterion.columns(every), *sorted({name for one in every for name in one})])
    table = [_row(setting, swept) for setting in settings]
    for name in names:
        values = [list(setting.values(name).values()) for setting in settings]
        for row, summary in zip(table, summarize_each(values), strict=True):
            if summary.count:
                ends = {"std": summary.deviation, "low": summary.low, "high": summary.high}
                row.update({name: summary.mean} | {f"{name} {end}": _known(value) for end, value in ends.items()})
    for row, setting in zip(table, settings, strict=True):
        best = setting.best
        row["best trial"], row["run_id"] = (best.trial, best.run_id) if best else ("", "")
        row["key"] = setting.key
    return table


def _row(setting: Setting, swept: Sequence[str]) -> dict[str, Any]:
    counts = setting.counts()
    row: dict[str, Any] = {"setting": setting.name, "repeats": len(setting.repeats)}
    row |= {name: counts.pop(name, 0) for name in (COMPLETE, DIVERGED, FAILED)} | counts
    return row | {key: setting.used.get(key) for key in swept}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
