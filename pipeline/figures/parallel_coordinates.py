"""Parallel coordinates: every trial is a line through its swept values, coloured by its ranking metric."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import Locator, LogLocator, MaxNLocator

from pipeline.config.settings import swept_values, text_of
from pipeline.figures.style import INK, QUIET, blank, captioned, colour_bar, is_wide, told_apart
from pipeline.figures.trials import (
    EARLY,
    EARLY_NOTE,
    caption_of_draws,
    noun,
    ranking_metric,
    ranking_value,
    score_scale,
    stopped,
    with_unit,
)
from pipeline.results.curves import TrialRecord

_COLOUR_MAP = "cividis"
_MOST_TICKS, _LETTERS = 12, 20
_DECADES = 100  # the factor from which on powers of ten are ticks enough
_FOOT = 0.06  # the height of the least number on a scale, above the trials that do not use one
_LARGEST, _BREADTH = 12, 900  # the font size of an axis's name, and the sum of the sizes of letters that fit in a line


def draw_parallel_coordinates(trials: Sequence[TrialRecord]) -> bytes:
    """Return the figure: an axis for each swept key, and one for the ranking metric.

    It is empty for a single swept key, which other figures show better.
    """
    every = [trial.standing.used for trial in trials]
    varied = swept_values(every)
    if len(varied) < 2:
        return b""
    name = ranking_metric(trials)
    figure, (axes,) = blank(title=f"Every {noun(trials)} through its values, by {name}")
    scale = score_scale(trials)
    colour = ScalarMappable(scale, colormaps[_COLOUR_MAP])
    worst = 0.0 if trials[0].standing.criterion.mode == "max" else 1.0
    axis_of = {key: _axis(key, values, unused=any(key not in one for one in every)) for key, values in varied.items()}
    lines, colours, styles = [], [], []
    # The worst first, so that the best are drawn on top.
    for trial, one in zip(reversed(trials), reversed(every), strict=True):
        score = ranking_value(trial)
        heights = [places[str(one.get(key, _UNUSED))] for key, (places, _) in axis_of.items()]
        lines.append(_smooth([*heights, worst if score is None else float(scale(score))]))
        colours.append(QUIET if score is None else colour.to_rgba(np.array(score)))
        styles.append(":" if score is None else "-")
        if stopped(trial):
            axes.plot(*lines[-1][-1], EARLY, color=colours[-1], markeredgecolor=INK, clip_on=False, zorder=3)
    # One collection: a thousand separate lines take seconds.
    axes.add_collection(LineCollection(lines, colors=colours, linestyles=styles, linewidths=1.8, alpha=0.85))
    for position, (_, ticks) in enumerate(axis_of.values()):
        axes.axvline(position, color=INK, linewidth=1)
        for text, height in ticks:
            axes.text(position + 0.015, height, text, fontsize=11, color=INK, va="center", bbox=_BOX)
    axes.axvline(len(varied), color=INK, linewidth=1)
    names = [*varied, name]
    letters = min(_LARGEST, _BREADTH / (len(varied) * max(map(len, names))))
    axes.set_xticks(range(len(names)), names, fontsize=letters, parse_math=False)
    axes.set_yticks([])
    axes.set_xlim(-0.08, len(varied) + 0.08)
    axes.set_ylim(-0.04, 1.04)
    for side in axes.spines.values():
        side.set_visible(False)
    colour_bar(figure, colour, axes, with_unit(name))
    note = f" · {EARLY_NOTE}" if any(map(stopped, trials)) else ""
    note += " · dotted: diverged or not finished" if ":" in styles else ""
    return captioned(figure, f"{caption_of_draws(trials)}{note}")


_UNUSED = "\0"
_BOX = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1}


def _axis(name: str, values: Sequence[Any], *, unused: bool) -> tuple[dict[str, float], list[tuple[str, float]]]:
    """Return the height of each value of a key, by its text, and the texts beside the axis with their heights.

    Many numbers, such as those of a search, are on a scale beside round numbers, other values are evenly spaced. Below
    them are the trials that leave the key ``unused``, if there are any.
    """
    if len(values) > _MOST_TICKS and all(isinstance(value, int | float) for value in values):
        return _on_scale(name, values, unused=unused)
    texts = {_UNUSED: "not used"} if unused else {}
    ordered = sorted(values, key=_numbers_first)
    texts |= zip(map(str, ordered), told_apart([text_of(name, value) for value in ordered], _LETTERS), strict=True)
    heights = {key: (k + 0.5) / len(texts) for k, key in enumerate(texts)}
    return heights, [(texts[key], heights[key]) for key in list(texts)[:: -(-len(texts) // _MOST_TICKS)]]


def _on_scale(name: str, numbers: Sequence[float], *, unused: bool) -> tuple[dict[str, float], list[tuple[str, float]]]:
    low, high = float(min(numbers)), float(max(numbers))
    scale: Normalize = Normalize(low, high)
    locator: Locator = MaxNLocator(_MOST_TICKS // 2, steps=[1, 2, 5, 10])
    if is_wide(np.array(numbers)):
        scale, locator = LogNorm(low, high), LogLocator(subs=[1] if high > _DECADES * low else [1, 2, 5])

    def height(value: float) -> float:
        return _FOOT + (1 - _FOOT) * float(scale(value))

    heights = {_UNUSED: 0.0} | {str(value): height(value) for value in numbers}
    ticks = [(text_of(name, float(one)), height(one)) for one in locator.tick_values(low, high) if low <= one <= high]
    return heights, [("not used", 0.0)] * unused + ticks


def _numbers_first(value: Any) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, int | float) else (math.inf, str(value))


def _smooth(heights: Sequence[float]) -> np.ndarray:
    """Return a line ``(P, 2)`` that is horizontal at every axis, so that the eye can follow it across."""
    part = np.linspace(0, 1, 24, endpoint=False)
    ease = part * part * (3 - 2 * part)
    y = [start + (stop - start) * ease for start, stop in itertools.pairwise(heights)]
    x = [k + part for k in range(len(y))]
    return np.column_stack([np.append(np.concatenate(x), len(y)), np.append(np.concatenate(y), heights[-1])])
