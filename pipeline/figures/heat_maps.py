"""Accuracy over learning rate and batch size: a heat map for each strategy, or model, with one colour scale."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from pipeline.config.settings import swept_values, text_of
from pipeline.figures.style import INK, blank, captioned, colour_bar, label
from pipeline.figures.trials import (
    by_kind,
    caption_of_draws,
    diverged,
    ranking_metric,
    ranking_value,
    score_range,
    unit,
    used,
    value_text,
)
from pipeline.record.drawings import TrialRecord

_COLOUR_MAP = "cividis"
_NAMES = {"batch_size": "batch size"}
_LARGEST, _SMALLEST, _WIDTH = 12, 7, 125  # the font sizes of a cell's text, and the width that the columns share
_SLANTED = 24  # the most columns whose ticks do not overlap at 45 degrees
_BREADTH, _HEIGHT = 490, 260  # the sums of the font sizes of ticks that fit beside each other, and above each other


def draw_heat_maps(trials: Sequence[TrialRecord]) -> bytes:
    """Return the accuracy of the best trial at each learning rate and batch size, for each strategy and model.

    It is empty if neither is swept. For settings (means), another swept choice replaces the batch size if that is not
    swept.
    """
    varied = swept_values([used(trial) for trial in trials])
    if not {"learning_rate", "batch_size"} & varied.keys():
        return b""
    kinds = by_kind(trials)
    name = ranking_metric(trials)
    side = _side(trials, varied)
    of_side = _NAMES.get(side, side)
    figure, panels = blank(panels=len(kinds), title=f"{name}{unit(name)} over learning rate and {of_side}")
    low, high = score_range(trials)
    sizes = _values(trials, side)
    columns = sum(len(_values(members, "learning_rate")) for members in kinds.values())
    for axes, (kind, members) in zip(panels, kinds.items(), strict=True):
        rates = _values(members, "learning_rate")
        cells, failed = _cells(members, rates, sizes, side)
        image = axes.pcolormesh(cells, cmap=_COLOUR_MAP, vmin=low, vmax=high, edgecolors="white")
        middle, letters = (low + high) / 2, min(_LARGEST, _WIDTH / columns)
        _write(axes, cells, failed, name, middle=middle, letters=letters)
        label(axes, x="learning rate", y=of_side if axes is panels[0] else "", title=kind.replace(" ", "\n"))
        axes.grid(visible=False)
        texts = [_text("learning_rate", rate) for rate in rates]
        angle = 90 if columns > _SLANTED else 45 if max(columns / 3, len(rates)) > 3 else 0
        across, upright = min(_LARGEST, _BREADTH / columns), min(_LARGEST, _HEIGHT / len(sizes))
        axes.set_xticks(np.arange(len(rates)) + 0.5, texts, rotation=angle, fontsize=across)
        axes.set_yticks(np.arange(len(sizes)) + 0.5, [_text(side, size) for size in sizes], fontsize=upright)
        axes.tick_params(labelleft=axes is panels[0])
        axes.tick_params(length=0)
    colour_bar(figure, image, panels, f"{name}{unit(name)}")
    others = sorted(varied.keys() - {"model", "strategy", "learning_rate", side})
    best = f" · the best over {', '.join(others)}" if others else ""
    return captioned(figure, f"{caption_of_draws(trials)}{best} · x: diverged{_left_out(trials)}, blank: no result")


def _left_out(trials: Sequence[TrialRecord]) -> str:
    # The message of a mean tells of repeats that diverged; a trial's own may be any.
    some = any(trial.repeats > 1 and trial.standing.message for trial in trials)
    return ", a mean leaves out repeats that did" if some else ""


def _values(trials: Sequence[TrialRecord], name: str) -> list[Any]:
    """Return the values that trials use, in order; None is an unused learning rate, or a batch size of all examples."""
    found = {used(trial).get(name) for trial in trials}
    numbers = all(value is None or isinstance(value, int | float) for value in found)
    return sorted(found, key=lambda value: (value is None, 0 if value is None else value if numbers else str(value)))


def _side(trials: Sequence[TrialRecord], varied: Collection[str]) -> str:
    """Return the key of the vertical axis."""
    if "batch_size" in varied or max(trial.repeats for trial in trials) == 1:
        return "batch_size"
    others = [name for name in varied if name not in {"model", "strategy", "learning_rate"} and "." not in name]
    return (others or ["batch_size"])[0]


def _text(name: str, value: Any) -> str:
    return "not used" if value is None and name != "batch_size" else text_of(name, value)


def _cells(
    trials: Sequence[TrialRecord], rates: Sequence[Any], sizes: Sequence[Any], side: str = "batch_size"
) -> tuple[Any, np.ndarray]:
    """Return the best accuracy of every cell, masked if there is none, and the cells whose trials all diverged."""
    cells = np.full((len(sizes), len(rates)), np.nan)
    best = np.fmax if trials[0].standing.criterion.mode == "max" else np.fmin
    failed = np.zeros(cells.shape, dtype=bool)
    for trial in trials:
        setting: Mapping[str, Any] = used(trial)
        place = sizes.index(setting.get(side)), rates.index(setting.get("learning_rate"))
        score = ranking_value(trial)
        if score is not None:
            cells[place] = best(cells[place], score)
        failed[place] |= diverged(trial)
    return np.ma.masked_invalid(cells), failed & np.isnan(cells)


def _write(axes: Axes, cells: Any, failed: np.ndarray, metric: str, *, middle: float, letters: float) -> None:
    for row, column in np.ndindex(cells.shape):
        at = column + 0.5, row + 0.5
        if failed[row, column]:
            axes.text(*at, "x", ha="center", va="center", fontsize=14, color=INK)
        elif not np.ma.is_masked(cells[row, column]) and letters >= _SMALLEST:
            colour = "white" if cells[row, column] < middle else "black"
            text = value_text(cells[row, column], metric).removesuffix(" %")
            axes.text(*at, text, ha="center", va="center", fontsize=letters, color=colour)
