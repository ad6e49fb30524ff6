"""The settings of a sweep: the repeats of each, what they come to together, and which setting leads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.results.criterion import Criterion
from pipeline.results.statistics import Summary, spread, summarize, summarize_each

COMPLETE, STOPPED, DIVERGED, FAILED = "complete", "stopped early", "diverged", "failed"
_WITHOUT_ANSWER = frozenset({DIVERGED, FAILED})

Place = tuple[bool, bool, float, float, int]
"""What orders settings: whether they have no answer, whether any diverged, the rung that stopped them, score, index."""

Seeds = tuple[tuple[str, str], ...]
"""What tells a repeat of a setting from the others: the keys that vary, and their values as texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A trial as a repeat of its setting: its seeds, its outcome as a person reads it, and its last metrics.

    ``index`` is its place in the sweep; ``trial`` is its name, ``run_id`` that of its run, where it has one.
    ``stopped_at`` is the step of the rung at which it was stopped, infinite where it was not.
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
        """Whether its metrics are an answer: those of a trial that diverged or failed are none."""
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
        """Return the values of a metric by their seeds, of the repeats that count and have one that is finite."""
        known = {repeat.seeds: repeat.metrics.get(metric, math.nan) for repeat in self.repeats if repeat.counts}
        return {seeds: value for seeds, value in known.items() if math.isfinite(value)}

    def summary(self, metric: str) -> Summary:
        """Return what the repeats come to together."""
        return summarize(list(self.values(metric).values()))

    def spread(self, metric: str) -> tuple[float, float]:
        """Return the mean and the deviation of a metric over the repeats, NaN where there is none."""
        return spread(list(self.values(metric).values()))

    def counts(self) -> dict[str, int]:
        """Return how many repeats ended how, the usual way first."""
        order = (COMPLETE, STOPPED, DIVERGED, FAILED)
        every = [repeat.outcome for repeat in self.repeats]
        names = [*order, *dict.fromkeys(name for name in every if name not in order)]
        return {name: every.count(name) for name in names if name in every}

    @property
    def score(self) -> float:
        """What settings are ordered by, more being better: the mean, minus infinity where there is nothing."""
        values = self.values(self.criterion.metric)
        return self.criterion.sign * sum(values.values()) / len(values) if values else -math.inf

    @property
    def stopped_at(self) -> float:
        """The step of the rung at which its repeats were stopped, infinite where they were not."""
        return min(repeat.stopped_at for repeat in self.repeats)

    @property
    def best(self) -> Repeat | None:
        """The best repeat, None where no repeat has an answer."""
        first = self.repeats[0]
        return first if first.counts and self.criterion.score(first.metrics) > -math.inf else None


def ranked(settings: Iterable[Setting]) -> list[Setting]:
    """Return settings, the best mean first, of those that came furthest: who was stopped at a rung comes after them.

    A setting that has diverged in some repeats comes after those that have in none: the mean of the repeats that are
    left is that of the lucky ones. Settings without an answer are last.
    """
    return sorted(settings, key=_place)


def _place(setting: Setting) -> Place:
    diverged = any(repeat.outcome == DIVERGED for repeat in setting.repeats)
    index = min(repeat.index for repeat in setting.repeats)
    return setting.score == -math.inf, diverged, -setting.stopped_at, -setting.score, index


def in_order(repeats: Sequence[Repeat], criterion: Criterion) -> tuple[Repeat, ...]:
    """Return repeats, the best first, those without an answer last."""
    return tuple(sorted(repeats, key=lambda one: (not one.counts, -criterion.score(one.metrics), one.index)))


def are_repeated(settings: Sequence[Setting]) -> bool:
    """Return whether any setting has more than one repeat: where none has, trials say all there is to say."""
    return any(len(setting.repeats) > 1 for setting in settings)


def columns(settings: Sequence[Setting], shown: Sequence[str]) -> list[str]:
    """Return those of the metrics ``shown`` that any repeat has, what settings are ranked by before them."""
    measured = {name for setting in settings for repeat in setting.repeats for name in repeat.metrics}
    first = [settings[0].criterion.metric] if settings else []
    return [name for name in dict.fromkeys([*first, *shown]) if name in measured]


def rows(settings: Sequence[Setting], swept: Sequence[str], shown: Sequence[str]) -> list[dict[str, Any]]:
    """Return the settings as rows of plain values: what was swept, and of each metric mean, deviation and interval.

    ``shown`` are the metrics that come first; the others follow by their names.
    """
    every = {name for setting in settings for repeat in setting.repeats for name in repeat.metrics}
    names = list(dict.fromkeys([*columns(settings, shown), *sorted(every)]))
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
