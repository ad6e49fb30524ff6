"""The curves of the best settings: the mean over the repeats of each, and its interval as a band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pipeline.figures.settings import SettingRecord, by_setting, caption_of_settings, mean_curve
from pipeline.figures.style import (
    COLOURS,
    SIDE_BY_SIDE,
    blank,
    captioned,
    dots,
    label,
    legend_below,
    logarithmic,
    told_apart,
)
from pipeline.figures.trials import factor, is_logarithmic, with_unit
from pipeline.results.criterion import is_share
from pipeline.results.curves import TrialRecord
from pipeline.results.statistics import LEVEL, students

_LETTERS = 39  # two columns of a legend


def draw_bands(trials: Sequence[TrialRecord]) -> bytes:
    """Return the training loss and the ranking metric over the steps, for as many settings as there are colours.

    The training loss is left out if the settings have different losses. The figure is empty if no curve has two points:
    `draw_intervals` shows the last ones.
    """
    drawn = by_setting(trials)
    shown = [one for one in drawn if one.kept][: len(COLOURS)]
    metric = trials[0].standing.criterion.metric
    kinds = {one.setting.used.get("loss") for one in shown}
    wanted = ("train/loss", metric) if len(kinds) == 1 else (metric,)
    names = [name for name in dict.fromkeys(wanted) if any(name in trial.curves for trial in trials)]
    every = [trial.curves[name] for one in shown for trial in one.kept for name in names if name in trial.curves]
    if all(len(curve.steps) < 2 for curve in every):
        return b""
    which = f"The {len(shown)} best settings" if len(shown) > 1 else "The best setting"
    figure, panels = blank(panels=len(names), title=f"{which}, mean of the repeats")
    texts = told_apart([one.setting.name for one in shown], _LETTERS)
    for axes, name in zip(panels, names, strict=True):
        label(axes, x="step", y=with_unit(name))
        curves = [_curves(one, name) for one in shown]
        _limit(axes, name, [values for _, values in curves])
        for (steps, values), text, colour in zip(curves, texts, COLOURS, strict=False):
            if len(steps):
                _draw(axes, name, steps, values, text, colour)
    legend_below(figure)
    key = f"band: {100 * LEVEL:.0f} % interval of the mean (Student's t) · diverged left out"
    margins = SIDE_BY_SIDE if len(names) > 1 else None
    return captioned(figure, f"{caption_of_settings(drawn)} · {key}", margins=margins)


def _curves(one: SettingRecord, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps of a setting's curves, and the values of its repeats there, in the unit of `with_unit`."""
    curves = [trial.curves[name] for trial in one.kept if name in trial.curves]
    steps, values = mean_curve(curves) if curves else (np.empty(0), np.empty((0, 0)))
    return steps, factor(name) * values


def _limit(axes: Axes, name: str, curves: Sequence[np.ndarray]) -> None:
    """Limit the axis to the values of the repeats, since a band of two is wide and would squeeze the lines.

    Points with error bars, in place of lines, are in view with their bars.
    """
    values = np.concatenate([one.ravel() for one in curves])
    values = values[np.isfinite(values)]  # an own task may report an infinite loss, and go on
    if is_logarithmic(name, values):
        logarithmic(axes, "y")
        axes.set_ylim(values.min() / 2, values.max() * 2)
    elif len(values) and max(one.shape[1] for one in curves) > 1 and (room := 0.05 * np.ptp(values)):
        axes.set_ylim(values.min() - room, values.max() + room)


def _draw(axes: Axes, name: str, steps: np.ndarray, values: np.ndarray, text: str, colour: str) -> None:
    """Draw the mean and the band of a setting's repeats; a band ends where no value can be."""
    mean, count = values.mean(axis=0), len(values)
    low, high = students(mean, values.var(axis=0, ddof=1) / count, count - 1).T if count > 1 else (mean, mean)
    if is_share(name):
        low, high = np.maximum(low, min(0.0, values.min())), np.minimum(high, max(100.0, values.max()))
    elif axes.get_yscale() == "log":
        low = np.maximum(low, axes.get_ylim()[0])  # an end below 0 would be infinitely far down
    axes.plot(steps, mean, color=colour, linewidth=2, marker=dots(steps), markersize=4, label=text)
    if len(steps) == 1:
        axes.errorbar(steps, mean, yerr=[mean - low, high - mean], color=colour, capsize=4)
    axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
