"""The funnel of a sweep that stops trials: each trial's curve up to its end, and how many went on at each rung."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pipeline.config.settings import counted
from pipeline.figures.style import BLUE, INK, QUIET, SIDE_BY_SIDE, blank, captioned, label, logarithmic
from pipeline.figures.trials import caption_of, factor, is_logarithmic, stopped, with_unit
from pipeline.results.criterion import mode_of
from pipeline.results.curves import TrialRecord
from pipeline.results.numbers import number

_MOST_NAMES = 22  # more would overlap


def draw_rungs(trials: Sequence[TrialRecord]) -> bytes:
    """Return the curves of the metric that decided, and the number of trials after each rung.

    It is empty if no trial was stopped.
    """
    metric, mode = _decisive(trials)
    shown = [trial for trial in trials if metric in trial.curves]
    early = [trial.standing.stopped_at for trial in trials if stopped(trial)]
    rungs = sorted(set(early))
    if not rungs or not shown:
        return b""
    title = f"{len(early)} of {len(trials)} trials stopped at {counted(len(rungs), 'rung')}"
    figure, (left, right) = blank(panels=2, title=title)
    cut = _draw_curves(left, shown, rungs, metric, mode)
    lost = _draw_counts(right, trials, rungs)
    note = " · the worst values are beyond the axis" if cut else ""
    note += f" · {lost} diverged or failed" if lost else ""
    return captioned(figure, f"{caption_of(trials)}{note}", margins={**SIDE_BY_SIDE, "top": 0.86, "wspace": 0.42})


def _decisive(trials: Sequence[TrialRecord]) -> tuple[str, str]:
    """Return the metric that decided who goes on, and its better end; of ranking if there are no curves of it."""
    criterion, rule = trials[0].standing.criterion, trials[0].standing.trial.config["stopping"]
    metric = rule.get("metric") or criterion.metric
    if metric == criterion.metric or not any(metric in trial.curves for trial in trials):
        return criterion.metric, criterion.mode
    return metric, rule.get("mode") or mode_of(metric)


def _draw_curves(axes: Axes, trials: Sequence[TrialRecord], rungs: Sequence[float], metric: str, mode: str) -> bool:
    """Draw the metric over the steps; return whether some values are beyond the axis."""
    for trial in reversed(trials):  # the best last, on top of the others
        curve = trial.curves[metric]
        colour, width = (QUIET, 0.7) if stopped(trial) else (BLUE, 2)
        values, mark = factor(metric) * curve.values, "." if len(curve.steps) == 1 else ""
        axes.plot(curve.steps, values, color=colour, linewidth=width, marker=mark)
    for rung in rungs:
        axes.axvline(rung, color=INK, linewidth=0.8, linestyle=":")
    label(axes, x="step", y=with_unit(metric), title="stopped in grey, to the end in blue")
    logarithmic(axes, "x")
    limits = _limits(trials, metric, mode)
    if is_logarithmic(metric, limits):
        logarithmic(axes, "y")
    axes.set_ylim(*limits)
    low, high = limits
    every = factor(metric) * np.concatenate([trial.curves[metric].values for trial in trials])
    return bool(((every < low) | (every > high)).any())


def _limits(trials: Sequence[TrialRecord], metric: str, mode: str) -> tuple[float, float]:
    """Return the ends of the axis: of all values but the worst, since a diverging trial would squeeze the others.

    Each trial has the same weight: those that were stopped have few points.
    """
    kept = [trial for trial in trials if not trial.standing.diverged] or trials
    curves = [trial.curves[metric].values for trial in kept]
    finite = [curve[np.isfinite(curve)] for curve in curves]
    values = factor(metric) * np.concatenate(finite)
    weights = np.concatenate([np.full(len(curve), 1 / max(1, len(curve))) for curve in finite])
    if not len(values):
        return 0.0, 1.0
    ends = [0.02, 1.0] if mode == "max" else [0.0, 0.98]
    low, high = np.quantile(values, ends, weights=weights, method="inverted_cdf").tolist()
    if is_logarithmic(metric, [low, high]):
        return low / 1.5, high * 1.5
    room = 0.05 * max(high - low, 1e-9 * max(1.0, abs(low)))  # of large values that are all equal, too
    return low - room, high + room


def _draw_counts(axes: Axes, trials: Sequence[TrialRecord], rungs: Sequence[float]) -> int:
    """Draw the number of trials after each rung; return how many diverged or failed."""
    standings = [trial.standing for trial in trials if math.isfinite(trial.standing.score)]
    left = [len(trials), *(sum(standing.stopped_at > rung for standing in standings) for rung in rungs)]
    names = ["begin", *(f"after {number(rung, 6)}" for rung in rungs)]
    every = -(-len(names) // _MOST_NAMES)  # the median rule may have a hundred rungs
    bars = axes.barh(range(len(left)), left, color=BLUE, height=0.7)
    counts = ["" if place % every else str(count) for place, count in enumerate(left)]
    axes.bar_label(bars, labels=counts, padding=3, color=INK, fontsize=11)
    axes.set_yticks(range(0, len(left), every), names[::every])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    label(axes, x="trials", y="", title="how many go on")
    return len(trials) - len(standings)
