"""The funnel of a sweep that stops trials: each trial's curve up to its end, and how many went on at each rung."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pipeline.config.settings import counted
from pipeline.figures.style import BLUE, INK, QUIET, SIDE_BY_SIDE, blank, captioned, label, logarithmic
from pipeline.figures.trials import caption_of, factor, ranking_metric, stopped, with_unit
from pipeline.results.curves import TrialRecord
from pipeline.results.numbers import number

_MOST_NAMES = 22  # more would overlap


def draw_rungs(trials: Sequence[TrialRecord]) -> bytes:
    """Return the curves of the ranking metric, and the number of trials after each rung.

    It is empty if no trial was stopped.
    """
    metric = ranking_metric(trials)
    shown = [trial for trial in trials if metric in trial.curves]
    early = [trial.standing.stopped_at for trial in trials if stopped(trial)]
    rungs = sorted(set(early))
    if not rungs or not shown:
        return b""
    title = f"{len(early)} of {len(trials)} trials stopped at {counted(len(rungs), 'rung')}"
    figure, (left, right) = blank(panels=2, title=title)
    _draw_curves(left, shown, rungs, metric)
    _draw_counts(right, trials, rungs)
    return captioned(figure, caption_of(trials), margins={**SIDE_BY_SIDE, "top": 0.86, "wspace": 0.42})


def _draw_curves(axes: Axes, trials: Sequence[TrialRecord], rungs: Sequence[float], metric: str) -> None:
    for trial in reversed(trials):  # the best last, on top of the others
        curve = trial.curves[metric]
        colour, width = (QUIET, 0.7) if stopped(trial) else (BLUE, 2)
        values, mark = factor(metric) * curve.values, "." if len(curve.steps) == 1 else ""
        axes.plot(curve.steps, values, color=colour, linewidth=width, marker=mark)
    for rung in rungs:
        axes.axvline(rung, color=INK, linewidth=0.8, linestyle=":")
    label(axes, x="step", y=with_unit(metric), title="stopped in grey, to the end in blue")
    logarithmic(axes, "x")
    axes.set_ylim(*_limits(trials, metric))


def _limits(trials: Sequence[TrialRecord], metric: str) -> tuple[float, float]:
    """Return the ends of the axis: of all values but the worst, since a diverging trial would squeeze the others."""
    values = factor(metric) * np.concatenate([trial.curves[metric].values for trial in trials])
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    is_max = trials[0].standing.criterion.mode == "max"
    low, high = np.quantile(finite, [0.02, 1.0] if is_max else [0.0, 0.98]).tolist()
    room = 0.05 * max(high - low, 1e-9 * max(1.0, abs(low)))  # of large values that are all equal, too
    return low - room, high + room


def _draw_counts(axes: Axes, trials: Sequence[TrialRecord], rungs: Sequence[float]) -> None:
    """Draw the number of trials after each rung."""
    standings = [trial.standing for trial in trials if math.isfinite(trial.standing.score)]
    left = [len(trials), *(sum(standing.stopped_at > rung for standing in standings) for rung in rungs)]
    lost = len(trials) - len(standings)
    names = ["begin", *(f"after {number(rung, 6)}" for rung in rungs)]
    every = -(-len(names) // _MOST_NAMES)  # the median rule may have a hundred rungs
    bars = axes.barh(range(len(left)), left, color=BLUE, height=0.7)
    counts = ["" if place % every else str(count) for place, count in enumerate(left)]
    axes.bar_label(bars, labels=counts, padding=3, color=INK, fontsize=11)
    axes.set_yticks(range(0, len(left), every), names[::every])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    label(axes, x="trials", y="", title=f"how many go on ({lost} diverged or failed)" if lost else "how many go on")
