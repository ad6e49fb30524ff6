"""The settings of a sweep for its figures: each with its repeats, and as one trial that is their mean."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config.settings import counted, setting_names
from pipeline.figures.trials import caption_of, caption_of_draws
from pipeline.results.curves import Series, TrialRecord
from pipeline.results.repeats import Setting, as_setting, ranked
from tasks.events import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRecord:
    """A setting and the records of its repeats."""

    setting: Setting
    trials: tuple[TrialRecord, ...]

    @property
    def kept(self) -> list[TrialRecord]:
        """The repeats that have a score."""
        return [trial for trial in self.trials if trial.standing.score > -math.inf]


def by_setting(trials: Sequence[TrialRecord]) -> list[SettingRecord]:
    """Return the settings of the trials, the best first."""
    groups: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        groups.setdefault(trial.standing.setting, []).append(trial)
    every = [[one.standing for one in members] for members in groups.values()]
    names = setting_names([standings[0].used for standings in every], trials[0].standing.criterion.over)
    settings = ranked(map(as_setting, names, every))
    return [SettingRecord(setting=one, trials=tuple(groups[one.key])) for one in settings]


def are_repeated(trials: Sequence[TrialRecord]) -> bool:
    """Return whether a setting has more than one repeat."""
    return len({trial.standing.setting for trial in trials}) < len(trials)


def as_means(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return a record for each setting, the best first: the means over the repeats that have a score, and mean curves.

    If some repeats diverged, its message says so; if all did, it has diverged.
    """
    first = trials[0].standing
    held = {key: getattr(first.trial.trial, key) for key in first.criterion.over if hasattr(first.trial.trial, key)}
    return [_mean(one, held) for one in by_setting(trials)]


def mean_curve(curves: Sequence[Series]) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps that all curves have, int64 ``(P,)``, and their values there, ``(repeats, P)``."""
    steps = functools.reduce(np.intersect1d, [curve.steps for curve in curves])
    rows = [curve.values[np.searchsorted(curve.steps, steps)] for curve in curves]
    return steps, np.array(rows).reshape(len(curves), len(steps))


def caption_of_settings(drawn: Sequence[SettingRecord]) -> str:
    """Return the number of settings and repeats, and the values that all share."""
    trials = [trial for one in drawn for trial in one.trials]
    if len(trials) == len(drawn):
        return caption_of_draws(trials)
    counts = sorted({len(one.trials) for one in drawn})
    many = f"{counts[0]} to {counts[-1]} repeats" if len(counts) > 1 else counted(counts[0], "repeat")
    common = caption_of(trials).partition(" · ")[2]
    return f"{counted(len(drawn), 'setting')} x {many} · {common}"


def _mean(one: SettingRecord, held: Mapping[str, Any]) -> TrialRecord:
    """Return a setting as one trial; the keys that repeats vary have the values ``held``, the same in all settings."""
    kept = one.kept
    shown = kept or one.trials
    names = dict.fromkeys(name for trial in shown for name in trial.standing.metrics)
    means = {name: one.setting.spread(name)[0] for name in names}
    planned = shown[0].standing.trial
    lost = sum(trial.standing.diverged for trial in one.trials)
    standing = dataclasses.replace(
        shown[0].standing,
        trial=dataclasses.replace(planned, name=one.setting.name, trial=dataclasses.replace(planned.trial, **held)),
        metrics={name: mean for name, mean in means.items() if math.isfinite(mean)},
        outcome=Outcome.DIVERGED if lost and not kept else shown[0].standing.outcome,
        message=f"{lost} of {len(one.trials)} diverged" if kept and lost else "",
    )
    curves = {}
    for name in shown[0].curves:
        steps, values = mean_curve([trial.curves[name] for trial in shown if name in trial.curves])
        if len(steps):
            curves[name] = Series(steps=steps, values=values.mean(axis=0))
    return TrialRecord(standing=standing, curves=curves, is_mean=True)
