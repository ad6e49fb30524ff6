"""Parallel coordinates: every trial is a line through its swept values, coloured by its accuracy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import LogLocator, MaxNLocator

from pipeline.config.settings import swept_values, text_of
from pipeline.figures.style import INK, QUIET, blank, captioned, colour_bar, is_wide, shortened
from pipeline.figures.trials import (
    EARLY,
    EARLY_NOTE,
    caption_of_draws,
    noun,
    ranking_metric,
    ranking_value,
    score_scale,
    stopped,
    used,
    with_unit,
)
from pipeline.results.curves import TrialRecord

_COLOUR_MAP = "cividis"
_MOST_TICKS, _LETTERS = 12, 20
_DECADES = 100  # the factor from which on powers of ten are ticks enough
_FOOT = 0.06  # the height of the least number on a scale, above the trials that do not use one
_LARGEST, _BREADTH = 12, 900  # the font size of an axis's name, and the sum of the sizes of letters that fit in a line


def draw_parallel_coordinates(trials: Sequence[TrialRecord]) -> bytes:
    """Return the figure: an axis for each swept key, and one for the accuracy.

    It is empty for a single swept key, which other figures show better.
    """
    varied = swept_values([used(trial) for trial in trials])
    if len(varied) < 2:
        return b""
    name = ranking_metric(trials)
    figure, (axes,) = blank(title=f"Every {noun(trials)} through its values, by {name}")
    scale = score_scale(trials)
    colour = ScalarMappable(scale, colormaps[_COLOUR_MAP])
    worst = 0.0 if trials[0].standing.criterion.mode == "max" else 1.0
    places = [_places(setting, trials) for setting in varied]
    lines, colours, styles = [], [], []
    # The worst first, so that the best are drawn on top.
    for trial in reversed(trials):
        setting, score = used(trial), ranking_value(trial)
        heights = [place[str(setting.get(key, _UNUSED))] for key, place in zip(varied, places, strict=True)]
        lines.append(_smooth([*heights, worst if score is None else float(scale(score))]))
        colours.append(QUIET if score is None else colour.to_rgba(np.array(score)))
        styles.append(":" if score is None else "-")
    # One collection: a thousand separate lines take seconds.
    axes.add_collection(LineCollection(lines, colors=colours, linestyles=styles, linewidths=1.8, alpha=0.85))
    early = [
        (*line[-1], one) for line, one, trial in zip(lines, colours, reversed(trials), strict=True) if stopped(trial)
    ]
    for across, height, one in early:
        axes.plot(across, height, EARLY, color=one, markeredgecolor=INK, clip_on=False, zorder=3)
    for position, (key, place) in enumerate(zip(varied, places, strict=True)):
        axes.axvline(position, color=INK, linewidth=1)
        for text, height in _ticks(key, varied[key], place):
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
    note = f" · {EARLY_NOTE}" if early else ""
    return captioned(figure, f"{caption_of_draws(trials)}{note} · dotted: diverged or not finished")


_UNUSED = "\0"
_BOX = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1}


def _texts(name: str, values: Sequence[Any]) -> dict[str, str]:
    """Return how the values of a key are shown, by the names of their places: numbers in six digits, long texts cut."""
    texts = {str(value): text_of(name, value) for value in values} | {_UNUSED: "not used"}
    return {key: shortened(text, _LETTERS) for key, text in texts.items()}


def _places(name: str, trials: Sequence[TrialRecord]) -> dict[str, float]:
    """Return the height of each value of a key: on a scale if they are many numbers, else evenly spaced."""
    values = {str(value): value for trial in trials for value in [used(trial).get(name, _UNUSED)]}
    ordered = sorted(values, key=lambda text: _order(values[text]))
    if scale := _scale([value for value in values.values() if value != _UNUSED]):
        return {text: 0.0 if text == _UNUSED else _height(scale, values[text]) for text in ordered}
    return {text: (k + 0.5) / len(ordered) for k, text in enumerate(ordered)}


def _ticks(name: str, values: Sequence[Any], places: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return the texts beside an axis, and their heights: of round numbers if the values are on a scale."""
    texts, scale = _texts(name, values), _scale(values)
    if scale is None:
        return [(texts[text], height) for text, height in list(places.items())[:: -(-len(places) // _MOST_TICKS)]]
    low, high = scale.vmin or 0.0, scale.vmax or 0.0
    powers = LogLocator(subs=[1] if high > _DECADES * low else [1, 2, 5])
    locator = powers if isinstance(scale, LogNorm) else MaxNLocator(_MOST_TICKS // 2, steps=[1, 2, 5, 10])
    found = locator.tick_values(low, high)
    unused = [(texts[_UNUSED], places[_UNUSED])] if _UNUSED in places else []
    return unused + [(text_of(name, float(one)), _height(scale, one)) for one in found if low <= one <= high]


def _scale(values: Sequence[Any]) -> Normalize | None:
    """Return the scale of many numbers, such as those of a search; None for other values."""
    numbers = np.array([value for value in values if isinstance(value, int | float)])
    if len(numbers) < len(values) or len(numbers) <= _MOST_TICKS:
        return None
    return (LogNorm if is_wide(numbers) else Normalize)(numbers.min(), numbers.max())


def _height(scale: Normalize, value: float) -> float:
    return _FOOT + (1 - _FOOT) * float(scale(value))


def _order(value: Any) -> tuple[int, float, str]:
    number = isinstance(value, int | float)
    if value == _UNUSED:
        return 0, 0.0, ""
    return (1, float(value), "") if number else (2, math.inf, str(value))


def _smooth(heights: Sequence[float]) -> np.ndarray:
    """Return a line ``(P, 2)`` that is horizontal at every axis, so that the eye can follow it across."""
    part = np.linspace(0, 1, 24, endpoint=False)
    ease = part * part * (3 - 2 * part)
    y = [start + (stop - start) * ease for start, stop in itertools.pairwise(heights)]
    x = [k + part for k in range(len(y))]
    return np.column_stack([np.append(np.concatenate(x), len(y)), np.append(np.concatenate(y), heights[-1])])
