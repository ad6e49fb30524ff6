"""The settings of a sweep: their repeats, the statistics of these, and the ranking of the settings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.config.settings import cell_of, setting_values
from pipeline.results.criterion import Criterion, on_front
from pipeline.results.standing import COMPLETE, DIVERGED, FAILED, STOPPED, Repeat, Seeds, Standing
from pipeline.results.statistics import Summary, spread, summarize, summarize_each

FRONT = "Pareto front"
"""The header of the column that says yes where a setting is on the front of several objectives."""

RankKey = tuple[bool, bool, float, float, int]
"""The sort key of settings: no score, any repeat diverged, minus the rung that stopped it, minus the score, index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting and its repeats, the best first; ``used`` are its own values."""

    key: str
    name: str
    repeats: tuple[Repeat, ...]
    used: Mapping[str, Any] = field(default_factory=dict)

    @property
    def criterion(self) -> Criterion:
        """The criterion that ranks its repeats."""
        return self.repeats[0].criterion

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
        return _mean_score(self.repeats)

    @property
    def stopped_at(self) -> float:
        """The step of the rung at which its repeats were stopped, infinite if they were not."""
        return min(repeat.stopped_at for repeat in self.repeats)

    @property
    def ended(self) -> bool:
        """Whether all repeats that count ran to their end."""
        return all(repeat.ended for repeat in self.repeats if repeat.counts)

    @property
    def ending(self) -> str:
        """The outcomes of the repeats that did not run to their end, as text."""
        return ", ".join(dict.fromkeys(repeat.ending for repeat in self.repeats if not repeat.ended))

    @property
    def best(self) -> Repeat | None:
        """The best repeat, None if no repeat has a score."""
        first = self.repeats[0]
        return first if first.score > -math.inf else None


def as_setting(name: str, standings: Sequence[Standing]) -> Setting:
    """Return the repeats of a setting as the setting."""
    first = standings[0]
    return Setting(
        key=first.setting,
        name=name,
        repeats=tuple(sorted((one.repeat() for one in standings), key=rank)),
        used=setting_values(first.used, first.criterion.over),
    )


def ranked(settings: Iterable[Setting]) -> list[Setting]:
    """Return settings, the best first."""
    return sorted(settings, key=lambda setting: rank_setting(setting.repeats))


def rank(one: Standing | Repeat) -> tuple[bool, float, float, int]:
    """Return the sort key of a trial; the best has the least, those stopped early follow, those without a score."""
    return one.score == -math.inf, -one.stopped_at, -one.score, one.index


def rank_setting(repeats: Sequence[Standing | Repeat]) -> RankKey:
    """Return the sort key of a setting, by the mean of its repeats; the best has the least.

    Those that were stopped at a rung come after those that were not. A setting with diverged repeats comes after those
    without: the mean of the others is biased. Settings without a score are last.
    """
    score, diverged = _mean_score(repeats), any(one.diverged for one in repeats)
    stopped_at, index = min(one.stopped_at for one in repeats), min(one.index for one in repeats)
    return score == -math.inf, diverged, -stopped_at, -score, index


def _mean_score(repeats: Sequence[Standing | Repeat]) -> float:
    """Return the mean score, which is the same in any order of the repeats, minus infinity without any."""
    scores = [one.score for one in repeats if one.score > -math.inf]
    return math.fsum(scores) / len(scores) if scores else -math.inf


def are_repeated(settings: Sequence[Setting]) -> bool:
    """Return whether any setting has more than one repeat; if none has, a setting is a trial."""
    return any(len(setting.repeats) > 1 for setting in settings)


def on_front_of(settings: Sequence[Setting]) -> dict[str, str]:
    """Return yes or no for each setting, by key: whether it is on the Pareto front of several objectives, by its means.

    Without several objectives there are none. A setting that was stopped, or whose repeats do not count, is not on it.
    """
    objectives = settings[0].criterion.objectives if settings else ()
    if len(objectives) < 2:
        return {}
    directions, metrics = zip(*objectives, strict=True)
    means = [
        [setting.spread(metric)[0] if setting.stopped_at == math.inf else math.nan for metric in metrics]
        for setting in settings
    ]
    return {one.key: "yes" if on else "no" for one, on in zip(settings, on_front(means, directions), strict=True)}


def setting_rows(settings: Sequence[Setting], swept: Sequence[str]) -> list[dict[str, Any]]:
    """Return settings as rows of plain values: the swept values, and mean, deviation and interval of each metric."""
    every = [repeat.metrics for setting in settings for repeat in setting.repeats]
    names = dict.fromkeys([*settings[0].criterion.columns(every), *sorted({name for one in every for name in one})])
    front = on_front_of(settings)
    table = [_row(setting, swept) | ({FRONT: front[setting.key]} if front else {}) for setting in settings]
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
    row |= {name: counts.pop(name, 0) for name in (COMPLETE, STOPPED, DIVERGED, FAILED)} | counts
    return row | {key: cell_of(key, setting.used) for key in swept}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
