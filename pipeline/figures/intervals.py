"""The settings, a line each: their means, intervals and repeats, and whether one is distinguishable from the best."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.figures.settings import SettingRecord, by_setting, caption_of_settings
from pipeline.figures.style import (
    BLUE,
    INK,
    PURPLE,
    QUIET,
    VERMILION,
    blank,
    captioned,
    label,
    legend_below,
    logarithmic,
    told_apart,
)
from pipeline.figures.trials import factor, is_logarithmic, with_unit
from pipeline.results.comparisons import Comparison, against_best
from pipeline.results.curves import TrialRecord

_MOST = 20
_LETTERS = 40

_LOOKS = {
    BLUE: "the best",
    INK: "not distinguishable from it",
    VERMILION: "told apart from it",
    PURPLE: "not compared with it: stopped early, or one repeat",
}


def draw_intervals(trials: Sequence[TrialRecord]) -> bytes:
    """Return the best settings, a line each: the ranking metric, and of repeats its interval and every one."""
    drawn = by_setting(trials)
    shown = [one for one in drawn if one.kept][:_MOST]
    if len(shown) < 2:
        return b""
    settings = [one.setting for one in drawn]
    compared = {found.other.key: found for found in against_best(settings, most=_MOST)}
    metric, repeated = settings[0].criterion.metric, len(trials) > len(drawn)
    what = "settings, by repeats" if repeated else "trials"
    figure, (axes,) = blank(title=f"{metric} of {'the best' if len(drawn) > _MOST else 'all'} {what}")
    colours = [BLUE, *(_colour(compared.get(one.setting.key)) if repeated else INK for one in shown[1:])]
    scale = factor(metric)
    if is_logarithmic(metric, [value for one in shown for value in one.setting.values(metric).values()]):
        logarithmic(axes, "x")
    for row, (one, colour) in enumerate(zip(shown, colours, strict=True)):
        summary = one.setting.summary(metric)
        values = [scale * value for value in one.setting.values(metric).values()]
        if repeated:
            axes.plot(values, [row] * len(values), "|", color=QUIET, markersize=9, alpha=0.7)
        if not math.isnan(summary.low):
            axes.plot([scale * summary.low, scale * summary.high], [row, row], color=colour, linewidth=3)
        axes.plot(scale * summary.mean, row, "o", color=colour, markersize=7)
    label(axes, x=with_unit(metric), y="")
    for colour, text in _LOOKS.items():
        if repeated and colour in colours:
            axes.plot([], [], "o-", color=colour, linewidth=3, label=text)
    letters = max(9, 12 - len(shown) // 4)
    names = map(_named, shown, told_apart([one.setting.name for one in shown], _LETTERS))
    axes.set_yticks(range(len(shown)), list(names), fontsize=letters, parse_math=False)
    axes.invert_yaxis()
    legend_below(figure)
    key = " · line: 95 % interval of the mean (BCa bootstrap; Student's from 200 repeats on) · |: a repeat"
    return captioned(figure, f"{caption_of_settings(drawn)}{key if repeated else ''}")


def _colour(found: Comparison | None) -> str:
    """Return the colour of a setting that is not the best: it may be one that was not compared with that."""
    if found is None or found.difference is None:
        return PURPLE
    return VERMILION if found.is_distinguishable else INK


def _named(one: SettingRecord, name: str) -> str:
    lost = len(one.trials) - len(one.kept)
    return f"{name} ({lost} of {len(one.trials)} lost)" if lost else name
