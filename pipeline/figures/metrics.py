"""The curves of a user's own task: every metric over the steps, those with the same last name in one panel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipeline.figures.style import LINES, blank, captioned, dots, label, legend, logarithmic
from pipeline.figures.trials import caption_of_trial, factor, is_logarithmic, title_of_trial, with_unit
from pipeline.plan.plan import PlannedTrial
from pipeline.results.curves import Series
from tasks.events import Result

_MOST_PANELS, _MOST_CURVES = 4, 12  # more do not fit the legend of a panel


def draw_metrics(trial: PlannedTrial, result: Result, series: Mapping[str, Series]) -> dict[str, bytes]:
    """Return the figure by its file name; ``train/loss`` and ``val/loss`` share a panel.

    If there are too many panels, those with the most points are shown; of too many curves in one, the first by name.
    """
    panels: dict[str, list[str]] = {}
    for name in sorted(series):
        if np.isfinite(series[name].values).any():
            panels.setdefault(name.rpartition("/")[2], []).append(name)
    if not panels:
        return {}
    most = sorted(panels, key=lambda panel: -max(len(series[name].steps) for name in panels[panel]))[:_MOST_PANELS]
    figure, every = blank(panels=len(most), title=title_of_trial(trial, result))
    for axes, panel in zip(every, most, strict=True):
        label(axes, x="step", y=with_unit(panel))
        shown = panels[panel][:_MOST_CURVES]
        finite = np.concatenate([series[name].values for name in shown])
        if is_logarithmic(panel, finite[np.isfinite(finite)]):
            logarithmic(axes, "y")
        for name, (style, colour) in zip(shown, LINES, strict=False):
            steps, values = series[name].steps, factor(name) * series[name].values
            axes.plot(steps, values, style, color=colour, linewidth=2, marker=dots(steps), markersize=5, label=name)
        if (more := len(panels[panel]) - _MOST_CURVES) > 0:
            axes.plot([], [], " ", label=f"and {more} more")
        legend(axes)
    return {"metrics.png": captioned(figure, caption_of_trial(trial))}
