"""The best and the worst trial of a sweep: their losses over the steps, in one figure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pipeline.figures.style import (
    BLUE,
    QUIET,
    SIDE_BY_SIDE,
    VERMILION,
    blank,
    captioned,
    dots,
    is_wide,
    label,
    legend_below,
    logarithmic,
    told_apart,
)
from pipeline.figures.trials import caption_of, factor, noun, ranking_metric, ranking_value, value_text, with_unit
from pipeline.results.curves import TrialRecord

_COLUMNS, _LINES, _LETTERS = 40, 3, 90  # of a name above a panel
_LINE = 0.037  # the height of a line of it, of the figure's
_ROOM = 350.0  # the pixels above a panel and half of the room beside it

_LOSSES = ("train/loss", "val/loss")
_LOOKS: Sequence[Mapping[str, Any]] = (  # one point has no line, so the marks differ, too
    {"label": "training", "linestyle": "-", "marker": "o"},
    {"label": "validation", "linestyle": "--", "marker": "s", "markerfacecolor": "white"},
)


def draw_extremes(trials: Sequence[TrialRecord]) -> bytes:
    """Return the loss curves of the best and the worst trial, which may have diverged after some points.

    For trials without a training loss they are curves of the ranking metric.
    """
    of_loss = any("train/loss" in trial.curves for trial in trials)
    metric = "train/loss" if of_loss else ranking_metric(trials)
    # A trial whose loss was never finite has no curve.
    shown = [trial for trial in trials if metric in trial.curves and len(_finite(trial, metric)[0])]
    if len(shown) < 2:
        return b""
    shown = [shown[0], shown[-1]]
    what, curves = ("Loss", _LOSSES) if of_loss else (metric, (metric,))
    figure, panels = blank(panels=2, title=f"{what} of the best and of the worst {noun(trials)}")
    best, worst = told_apart([trial.standing.trial.name for trial in shown], _LETTERS)
    _draw(panels[0], shown[0], f"best: {best}", BLUE, curves)
    _draw(panels[1], shown[1], f"worst: {worst}", VERMILION, curves)
    if any("val/loss" in trial.curves for trial in shown) and of_loss:
        for look in _LOOKS:
            panels[0].plot([], [], color=QUIET, linewidth=2, **look)
        legend_below(figure)
    rows = 1 + max(axes.get_title().count("\n") for axes in panels)
    return captioned(figure, caption_of(trials), margins={**SIDE_BY_SIDE, "top": 0.9 - _LINE * rows})


def _draw(axes: Axes, trial: TrialRecord, name: str, colour: str, curves: Sequence[str]) -> None:
    value, standing = ranking_value(trial), trial.standing
    metric = standing.criterion.metric
    text = value_text(value, metric) if value is not None else f"{standing.outcome_text} at step {standing.step}"
    named = textwrap.wrap(name, _COLUMNS, max_lines=_LINES, placeholder=" ...")
    has_penalty = standing.trial.trial.regularization and "val/loss" in trial.curves  # else all loss is data loss
    loss = "loss (validation: data loss)" if has_penalty else "loss"
    title = "\n".join([*named, f"{metric}: {text}"])
    label(axes, x="step", y=loss if curves is _LOSSES else with_unit(metric), title=title)
    axes.title.set_parse_math(False)  # to measure names with dollars
    axes.title.set_fontsize(float(axes.title.get_fontsize()) * min(1.0, _ROOM / axes.title.get_window_extent().width))
    heights = []
    for curve, look in zip(curves, _LOOKS, strict=False):
        if curve in trial.curves:
            steps, values = _finite(trial, curve)
            mark = look["marker"] if dots(steps) else ""
            axes.plot(steps, values, color=colour, linewidth=2, **{**look, "label": "", "marker": mark})
            heights.append(values)
    if is_wide(np.concatenate(heights)):
        logarithmic(axes, "y")


def _finite(trial: TrialRecord, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps and the finite values of a curve, in the unit of `with_unit`."""
    curve = trial.curves[metric]
    finite = np.isfinite(curve.values)
    return curve.steps[finite], factor(metric) * curve.values[finite]
