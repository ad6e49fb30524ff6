"""The figure of task=gradient_check: both gradients, and the relative errors with and without kinks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from pipeline.figures.style import (
    BLUE,
    COLOURS,
    GREEN,
    INK,
    LEGEND_ROW,
    ORANGE,
    VERMILION,
    blank,
    captioned,
    label,
    legend,
    logarithmic,
)
from pipeline.figures.trials import caption_of_trial
from pipeline.plan.plan import PlannedTrial
from tasks.events import Result
from tasks.studies.compared_gradients import DOUBTFUL, GOOD, WRONG, layers_of

_LEAST = 1e-16  # where an error of 0 is drawn on the logarithmic axis
_MOST_POINTS = 20_000  # more are slow to draw and overlap
_OF_LAYERS = tuple(colour for colour in COLOURS if colour != VERMILION)  # of more layers, all have the first


def draw_gradient_check(trial: PlannedTrial, result: Result) -> bytes:
    """Return the comparison of both gradients, coordinate by coordinate, as PNG."""
    kinks = result.arrays["kinks"].ravel() > 0
    verdict = result.message.partition(":")[0].partition(",")[0]
    figure, (left, right) = blank(panels=2, title=f"Analytic against numerical gradient: {verdict}")
    analytic, numerical = (np.abs(result.arrays[name]).ravel() for name in ("analytic", "numerical"))
    layers, place = layers_of(result.arrays), np.arange(len(kinks))
    smooth = {
        f"{name}, without a kink": (place >= part.start) & (place < part.stop) & ~kinks for name, part in layers.items()
    }
    told_apart = 0 < len(smooth) <= len(_OF_LAYERS)
    _scatter(left, analytic, numerical, smooth if told_apart else {"coordinates without a kink": ~kinks}, kinks)
    _histogram(right, result.arrays["relative_error"].ravel(), kinks)
    return captioned(figure, caption_of_trial(trial))


def _scatter(
    axes: Axes, analytic: np.ndarray, numerical: np.ndarray, smooth: Mapping[str, np.ndarray], kinks: np.ndarray
) -> None:
    """Draw the coordinates without a kink of each layer in a colour of their own, and all those with one."""
    label(axes, x="|analytic gradient|", y="|numerical gradient|")
    positive = (analytic > 0) & (numerical > 0)
    logarithmic(axes, "xy")
    points = [(text, chosen, colour, "o") for (text, chosen), colour in zip(smooth.items(), _OF_LAYERS, strict=False)]
    points.append(("with a kink within a step", kinks, VERMILION, "x"))
    for text, chosen, colour, marker in points:
        shown = np.flatnonzero(chosen & positive)
        shown = shown[np.linspace(0, len(shown) - 1, min(len(shown), _MOST_POINTS)).astype(int)]
        if len(shown):
            axes.plot(analytic[shown], numerical[shown], marker, color=colour, markersize=4, alpha=0.6, label=text)
            axes.lines[-1].set_zorder(2 + 1 / len(shown))  # the fewest on top
    if positive.any():
        ends = [analytic[positive].min(), analytic[positive].max()]
        axes.plot(ends, ends, color=INK, linewidth=1, linestyle="--", label="equal")
    else:
        said = "no coordinate at which\nboth are other than 0"
        axes.text(0.5, 0.5, said, transform=axes.transAxes, ha="center", fontsize=11, color=INK)
    low, high = np.log10(axes.get_ylim())
    room = LEGEND_ROW * (1 + len(axes.get_legend_handles_labels()[0]))
    axes.set_ylim(top=10 ** (high + (high - low) * room / (1 - room)))  # points run up to the corner of a wide legend
    legend(axes, loc="upper left")


def _histogram(axes: Axes, errors: np.ndarray, kinks: np.ndarray) -> None:
    label(axes, x="relative error |a - n| / max(|a|, |n|)", y="coordinates")
    shown = np.clip(np.nan_to_num(errors, nan=1.0), _LEAST, 1.0)
    bins = np.logspace(np.log10(_LEAST), 0, 49).tolist()
    axes.hist(shown[~kinks], bins=bins, color=BLUE, alpha=0.85, label="without a kink")
    if kinks.any():
        axes.hist(shown[kinks], bins=bins, color=VERMILION, alpha=0.6, label="with a kink")
    logarithmic(axes, "xy")
    for threshold, colour, text in (
        (GOOD, GREEN, f"good below {GOOD:.0e}"),
        (DOUBTFUL, ORANGE, f"doubtful above {DOUBTFUL:.0e}"),
        (WRONG, VERMILION, f"wrong above {WRONG:.0e}"),
    ):
        axes.axvline(threshold, color=colour, linewidth=1.6, linestyle="--", label=text)
    axes.set_ylim(0.7, axes.get_ylim()[1] ** 1.5)  # room for the legend
    legend(axes, loc="upper left")
