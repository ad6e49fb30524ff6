"""The figure of task=finite_difference: error against h, a panel for each precision, both axes logarithmic."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from pipeline.figures.style import BLUE, INK, QUIET, VERMILION, blank, captioned, label, legend, logarithmic, loss_name
from pipeline.figures.trials import caption_of_trial
from pipeline.plan.plan import PlannedTrial
from tasks.events import Result
from tasks.studies.finite_difference import PRECISIONS, SCHEMES

_COLOURS = {"forward": BLUE, "centred": VERMILION}
_COLLAPSED = 0.1  # above it no digit of the derivative is right
_MARKS = {"forward": "o", "centred": "s"}


def draw_finite_difference(trial: PlannedTrial, result: Result) -> bytes:
    """Return the errors as PNG: rounding on the left, truncation with its slopes on the right, the best h marked."""
    figure, panels = blank(
        panels=2, title=f"Finite differences of the {loss_name(trial)} loss along a random direction"
    )
    for p, (axes, precision) in enumerate(zip(panels, PRECISIONS, strict=True)):
        label(axes, x="h", y="relative error of the derivative" if p == 0 else "", title=precision)
        for d, scheme in enumerate(SCHEMES):
            _errors(axes, result, p, d, scheme)
        legend(axes, loc="lower left")
        logarithmic(axes, "xy")
    errors = result.arrays["errors"]
    drawn = errors[(errors > 0) & np.isfinite(errors)]  # of losses that overflow, errors are infinite or no number
    low, high = np.log10(drawn.min(initial=1.0)), np.log10(drawn.max(initial=1.0))
    for p, axes in enumerate(panels):
        # One scale for both panels, with room for the legend below and the words above.
        axes.set_ylim(10 ** (low - 0.3 * (high - low)), 10 ** (high + 0.25 * (high - low)))
        axes.axhline(1, color=INK, linewidth=0.8, linestyle=":")
        for place, side, words in ((0.02, "left", "rounding"), (0.98, "right", "truncation")):
            axes.text(place, 0.97, words, ha=side, va="top", color=QUIET, fontsize=12, transform=axes.transAxes)
        if count := _collapsed(errors[p]):
            words = f"no digit is right up to h = {result.arrays['h'][count - 1]:.0e}"
            axes.text(0.02, 0.91, words, va="top", color=QUIET, fontsize=11, transform=axes.transAxes)
    return captioned(figure, caption_of_trial(trial))


def _collapsed(errors: np.ndarray) -> int:
    """Return for how many of the smallest ``h`` no digit of the derivative is right, from errors ``(2, H)``."""
    gone = errors.max(axis=0) > _COLLAPSED
    return len(gone) if gone.all() else int(np.argmin(gone))


def _errors(axes: Axes, result: Result, p: int, d: int, scheme: str) -> None:
    h, errors = result.arrays["h"], result.arrays["errors"][p, d]
    slope, (first, last) = result.arrays["slopes"][p, d], result.arrays["fitted"][p, d]
    best = result.arrays["best_h"][p, d]
    colour = _COLOURS[scheme]
    shown = errors > 0
    axes.plot(h[shown], errors[shown], _MARKS[scheme], color=colour, markersize=3.5, alpha=0.75)
    fit = f"slope {slope:.2f}" if np.isfinite(slope) else "no slope"  # a legend has the width of its panel
    text = f"{scheme}: {fit}, ▼ best h {best:.0e}"
    axes.plot([], [], _MARKS[scheme] + "-", color=colour, markersize=5, label=text)
    if np.isfinite(slope):
        inside = (h >= first) & (h <= last)
        centre = np.log10(h[inside]).mean(), np.log10(errors[inside]).mean()
        line = 10 ** (centre[1] + slope * (np.log10(h[inside]) - centre[0]))
        axes.plot(h[inside], line, color=colour, linewidth=2.6)
    at_best = errors[np.searchsorted(h, best)]
    axes.plot(best, at_best, "v", color=colour, markeredgecolor=INK, markersize=11)
