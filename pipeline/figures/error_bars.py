"""The ranking metric over a swept number: means of the repeats with error bars, one line for each other choice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pipeline.config.settings import swept_values, text_of
from pipeline.figures.settings import SettingRecord, by_setting, caption_of_settings
from pipeline.figures.style import LINES, blank, captioned, is_wide, label, legend, logarithmic
from pipeline.figures.trials import is_share, unit
from pipeline.record.drawings import TrialRecord

_MOST_PANELS = 2
_ROOM, _ROWS = 0.2, 3  # of the height of the data, for a legend of so many rows
_BREADTH, _HANDLE = 84, 6  # of a panel that has the whole figure, and of a line in a legend: in letters


def draw_error_bars(trials: Sequence[TrialRecord]) -> bytes:
    """Return a panel for each of the first two swept numbers; other keys have lines, or are at their best."""
    drawn = by_setting(trials)
    shown = [one for one in drawn if one.kept]
    varied = swept_values([one.setting.used for one in drawn])
    numbers = [name for name, values in varied.items() if len(values) > 1 and all(map(_is_number, values))]
    if not shown or not numbers:
        return b""
    metric, lines = shown[0].setting.criterion.metric, _lines(varied, numbers)
    figure, panels = blank(panels=min(len(numbers), _MOST_PANELS), title=f"{metric} over what was swept")
    for axes, name in zip(panels, numbers, strict=False):
        label(axes, x=name, y=f"{metric}{unit(metric)}" if axes is panels[0] else "")
        every: dict[str, list[SettingRecord]] = {}
        for one in shown:
            every.setdefault(_kind(one, lines), []).append(one)
        for (kind, members), (style, colour) in zip(sorted(every.items()), itertools.cycle(LINES), strict=False):
            _draw(axes, name, kind, members, linestyle=style, color=colour)
        if is_wide(np.array([value for value in varied[name] if value is not None])):
            logarithmic(axes, "x")
    if lines:
        columns, room = _legend_place(list(every), panels=len(panels))
        low, high = panels[-1].get_ylim()
        panels[-1].set_ylim(low - room * (high - low), high)
        legend(panels[-1], loc="lower center", ncols=columns)
    best = _best_over([name for name in varied if name not in lines], numbers)
    return captioned(figure, f"{caption_of_settings(drawn)} · bars: 95 % interval of the mean (BCa bootstrap){best}")


def _legend_place(names: Sequence[str], *, panels: int) -> tuple[int, float]:
    """Return the columns of the legend, as many as fit, at most three, and the room for its rows below the data."""
    columns = max(1, min(3, len(names), _BREADTH // panels // (_HANDLE + max(map(len, names)))))
    rows = -(-len(names) // columns)
    return columns, _ROOM * max(1.0, rows / _ROWS)


def _draw(axes: Axes, name: str, kind: str, members: Sequence[SettingRecord], **look: Any) -> None:
    """Draw a line through the best setting at each value."""
    at: dict[float, SettingRecord] = {}
    for one in members:  # the best first
        if _is_number(one.setting.used.get(name)):
            at.setdefault(one.setting.used[name], one)
    if not at:
        return
    metric = members[0].setting.criterion.metric
    scale = 100 if is_share(metric) else 1
    summaries = [at[value].setting.summary(metric) for value in sorted(at)]
    means = [scale * one.mean for one in summaries]
    below = [0.0 if math.isnan(one.low) else scale * (one.mean - one.low) for one in summaries]
    above = [0.0 if math.isnan(one.high) else scale * (one.high - one.mean) for one in summaries]
    axes.errorbar(sorted(at), means, yerr=(below, above), fmt="o", label=kind, capsize=4, linewidth=2, **look)


def _lines(varied: Mapping[str, Sequence[Any]], numbers: Sequence[str]) -> list[str]:
    """Return the swept choices whose combinations are few enough for a line each."""
    chosen: list[str] = []
    for name, values in varied.items():
        count = math.prod(len(varied[one]) for one in [*chosen, name])
        if name not in numbers and "." not in name and count <= len(LINES) and len(values) > 1:
            chosen.append(name)
    return chosen


def _best_over(keys: Sequence[str], numbers: Sequence[str]) -> str:
    """Return the part of the caption that names what a point is the best over, of ``keys``, which have no lines."""
    if len(numbers) > 1:
        return f" · each the best over those of {', '.join(keys)} that are not its axis"
    others = [name for name in keys if name not in numbers]
    return f" · the best over {', '.join(others)}" if others else ""


def _kind(one: SettingRecord, lines: Sequence[str]) -> str:
    return " ".join(text_of(name, one.setting.used[name]) for name in lines if name in one.setting.used)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
