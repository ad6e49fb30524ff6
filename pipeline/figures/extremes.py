"""The best and the worst trial of a sweep: their losses over the steps, in one figure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from pipeline.figures.style import (
    BLUE,
    SIDE_BY_SIDE,
    VERMILION,
    blank,
    captioned,
    dots,
    is_wide,
    label,
    logarithmic,
)
from pipeline.figures.trials import caption_of, factor, noun, ranking_metric, ranking_value, value_text, with_unit
from pipeline.results.curves import TrialRecord

_COLUMNS, _LINES = 40, 2  # of a name above a panel
_LINE = 0.037  # the height of a line of it, of the figure's

_LOSSES = {"train/loss": "-", "val/loss": "--"}


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
    what, lines = ("Loss", _LOSSES) if of_loss else (metric, {metric: "-"})
    figure, panels = blank(panels=2, title=f"{what} of the best and of the worst {noun(trials)}")
    _draw(panels[0], shown[0], "best", BLUE, lines)
    _draw(panels[1], shown[-1], "worst", VERMILION, lines)
    rows = 1 + max(axes.get_title().count("\n") for axes in panels)
    return captioned(figure, caption_of(trials), margins={**SIDE_BY_SIDE, "top": 0.9 - _LINE * rows})


def _draw(axes: Axes, trial: TrialRecord, what: str, colour: str, lines: Mapping[str, str]) -> None:
    value, standing = ranking_value(trial), trial.standing
    metric = standing.criterion.metric
    text = value_text(value, metric) if value is not None else f"{standing.outcome_text} at step {standing.step}"
    named = textwrap.wrap(f"{what}: {standing.trial.name}", _COLUMNS, max_lines=_LINES, placeholder=" ...")
    penalty = ", data loss" if standing.trial.trial.regularization else ""  # else all loss is
    loss = f"loss (dashed: validation{penalty})" if "val/loss" in trial.curves else "loss"
    title = "\n".join([*named, f"{metric}: {text}"])
    label(axes, x="step", y=loss if lines is _LOSSES else with_unit(metric), title=title)
    heights = []
    for curve, style in lines.items():
        if curve in trial.curves:
            steps, values = _finite(trial, curve)
            axes.plot(steps, values, style, color=colour, linewidth=2, marker=dots(steps))
            heights.append(values)
    if is_wide(np.concatenate(heights)):
        logarithmic(axes, "y")


def _finite(trial: TrialRecord, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps and the finite values of a curve, in the unit of `with_unit`."""
    curve = trial.curves[metric]
    finite = np.isfinite(curve.values)
    return curve.steps[finite], factor(metric) * curve.values[finite]
