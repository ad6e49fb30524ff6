"""Slices: the ranking metric over each swept number, with error bars of repeats, and a colour for each other choice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pipeline.config.settings import swept_values, text_of
from pipeline.config.tables import TABLES
from pipeline.figures.settings import SettingRecord, by_setting, caption_of_settings
from pipeline.figures.style import LINES, QUIET, blank, captioned, is_wide, label, legend_below, logarithmic
from pipeline.figures.trials import EARLY, EARLY_NOTE, factor, is_logarithmic, with_unit
from pipeline.results.curves import TrialRecord

_MOST_PANELS = 3
_BARS = "bars: 95 % interval of the mean (BCa bootstrap; Student's from 200 repeats on)"


def draw_slices(trials: Sequence[TrialRecord]) -> bytes:
    """Return a panel for each of the first three swept numbers, with a dot for each setting.

    A line joins the best at each value, unless several numbers are swept and few settings share a value (a search).
    The figure is empty if no number is swept, or only together with a choice: a rate of its own for each strategy.
    """
    drawn = by_setting(trials)
    shown = [one for one in drawn if one.kept]
    varied = swept_values([one.setting.used for one in drawn])
    numbers = [name for name, values in varied.items() if len(_numbers(values)) > 1]
    lines = _lines(varied, numbers)
    numbers = [name for name in numbers if _varies_within_a_kind(name, drawn, lines)]
    if not shown or not numbers:
        return b""
    metric, names = shown[0].setting.criterion.metric, numbers[:_MOST_PANELS]
    figure, panels = blank(panels=len(names), title=f"{metric} over {', '.join(names)}")
    every: dict[str, list[SettingRecord]] = {}
    for one in shown:
        every.setdefault(_kind(one, lines), []).append(one)
    notes = [EARLY_NOTE] * any(map(_stopped, shown))
    for axes, name in zip(panels, names, strict=True):
        label(axes, x=name, y=with_unit(metric) if axes is panels[0] else "")
        joined = len(numbers) == 1 or 2 * len(varied[name]) <= len(shown)
        for (kind, members), (style, colour) in zip(sorted(every.items()), itertools.cycle(LINES), strict=False):
            line = style if joined else ""
            notes += ["line: the best at each value"] * _draw(axes, name, kind, members, linestyle=line, color=colour)
        lost = [one.setting.used[name] for one in drawn if not one.kept and _numbers([one.setting.used.get(name)])]
        _scale(axes, _numbers(varied[name]), [_value(one) for one in shown], metric)
        axes.plot(lost, [axes.get_ylim()[0]] * len(lost), "x", color=QUIET)
        notes += [f"dotted: {_lack(name, one)}" for one in shown if not _numbers([one.setting.used.get(name)])]
        notes += ["x: diverged or failed"] * bool(lost)
    if len(every) > 1:
        legend_below(figure)
    notes += [_BARS] * (len(trials) > len(drawn))
    return captioned(figure, " · ".join([caption_of_settings(drawn), *dict.fromkeys(notes)]))


def _draw(axes: Axes, name: str, kind: str, members: Sequence[SettingRecord], *, linestyle: str, color: str) -> bool:
    """Draw settings, the best first: a mark each, and error bars of the best at each value of a key.

    The bars and their line leave out what was stopped early: its value is that of another step. Return whether a line
    joins two bars.
    """
    at: dict[Any, SettingRecord] = {}
    for one in members:
        at.setdefault(one.setting.used.get(name), one)
    numbers = _numbers(list(at))
    best = {value: at[value] for value in sorted(numbers) if not _stopped(at[value])}
    if without := [one for value, one in at.items() if value not in numbers]:
        axes.axhline(_value(without[0]), color=color, linestyle=":", label=kind)
    for mark, early in ((".", False), (EARLY, True)):
        marked = [one for one in members if one.setting.used.get(name) in numbers and _stopped(one) is early]
        if marked:
            x, y = [one.setting.used[name] for one in marked], [*map(_value, marked)]
            axes.plot(x, y, mark, color=color, alpha=0.5, label=kind)
    metric = members[0].setting.criterion.metric
    scale = factor(metric)
    summaries = [one.setting.summary(metric) for one in best.values()]
    ends = [(one.mean - one.low, one.high - one.mean) for one in summaries]
    bars = scale * np.nan_to_num(ends).reshape(-1, 2).T if np.isfinite(ends).any() else None
    means = [scale * one.mean for one in summaries]
    if best:
        drawn = axes.errorbar([*best], means, bars, fmt="o", color=color, linestyle=linestyle, label=kind, capsize=4)
        drawn.lines[0].set(linewidth=2, markersize=5)
    return bool(linestyle) and len(best) > 1


def _lack(name: str, one: SettingRecord) -> str:
    """Return what a setting has in place of a number: all examples for a batch size, or no such key."""
    used = one.setting.used
    return f"{name}={text_of(name, used[name])}" if name in used else f"no {name}"


def _scale(axes: Axes, values: Sequence[float], heights: Sequence[float], metric: str) -> None:
    """Make the axes logarithmic whose values span much; those of one may begin with 0."""
    positive = np.array([value for value in values if value > 0])
    if is_wide(np.array(values)):
        logarithmic(axes, "x")
    elif is_wide(positive) and min(values) == 0:
        axes.set_xscale("symlog", linthresh=positive.min())
    if is_logarithmic(metric, heights):
        logarithmic(axes, "y")


def _stopped(one: SettingRecord) -> bool:
    return one.setting.stopped_at < math.inf


def _value(one: SettingRecord) -> float:
    """Return the mean of a setting, an accuracy in percent."""
    criterion = one.setting.criterion
    return factor(criterion.metric) * criterion.sign * one.setting.score


def _lines(varied: Mapping[str, Sequence[Any]], numbers: Sequence[str]) -> list[str]:
    """Return the swept choices whose combinations are few enough for a line each."""
    chosen: list[str] = []
    for name, values in varied.items():
        count = math.prod(len(varied[one]) for one in [*chosen, name])
        if name not in numbers and "." not in name and count <= len(LINES) and len(values) > 1:
            chosen.append(name)
    return chosen


def _varies_within_a_kind(name: str, settings: Sequence[SettingRecord], lines: Sequence[str]) -> bool:
    values: dict[str, set[float]] = {}
    for one in settings:
        values.setdefault(_kind(one, lines), set()).update(_numbers([one.setting.used.get(name)]))
    return any(len(some) > 1 for some in values.values())


def _kind(one: SettingRecord, lines: Sequence[str]) -> str:
    """Return the values of the choices that have lines as text; a row's name needs no key."""
    texts = {name: text_of(name, one.setting.used[name]) for name in lines if name in one.setting.used}
    return " ".join(text if name in TABLES else f"{name}={text}" for name, text in texts.items())


def _numbers(values: Sequence[Any]) -> list[float]:
    return [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
