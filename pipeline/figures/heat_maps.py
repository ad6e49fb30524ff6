"""Accuracy over learning rate and batch size: a heat map for each strategy, or model, with one colour scale."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from pipeline.config.settings import swept_values, text_of
from pipeline.figures.style import INK, blank, captioned, colour_bar, label
from pipeline.figures.trials import (
    by_kind,
    caption_of_draws,
    diverged,
    ranking_metric,
    ranking_value,
    score_scale,
    stopped,
    used,
    value_text,
    with_unit,
)
from pipeline.results.curves import TrialRecord

_COLOUR_MAP = "cividis"
_LARGEST, _WIDTH = 12, 125  # the largest size of a cell's text, and the width that the columns share
_MOST = 16  # columns or rows that can be read
_LETTERS = 60  # ticks with more do not fit beside each other


def draw_heat_maps(trials: Sequence[TrialRecord]) -> bytes:
    """Return the accuracy of the best trial at each learning rate and batch size, for each strategy and model.

    Another swept choice replaces a batch size that is not swept. It is empty if the trials leave half of the cells
    blank, as those of a search do, or if there are too many cells to read.
    """
    varied = swept_values([used(trial) for trial in trials])
    side, kinds, name = _side(varied), by_kind(trials), ranking_metric(trials)
    sizes = _values(trials, side)
    every = {kind: _values(members, "learning_rate") for kind, members in kinds.items()}
    columns = sum(map(len, every.values()))
    if not _is_table(trials, kinds, side) or max(columns, len(sizes)) > _MOST:
        return b""
    figure, panels = blank(panels=len(kinds), title=f"{with_unit(name)} over learning_rate and {side}")
    scale = score_scale(trials)
    for axes, (kind, rates) in zip(panels, every.items(), strict=True):
        cells, failed, early = _cells(kinds[kind], rates, sizes, side)
        image = axes.pcolormesh(cells, cmap=_COLOUR_MAP, norm=scale, edgecolors="white")
        letters = min(_LARGEST, _WIDTH / columns)
        _write(axes, cells, failed, early, name, scale=scale, letters=letters)
        label(axes, x="learning_rate", y=side if axes is panels[0] else "", title=kind.replace(" ", "\n"))
        axes.grid(visible=False)
        texts = [_text("learning_rate", rate) for rate in rates]
        slanted = columns * max(map(len, texts)) > _LETTERS
        axes.set_xticks(np.arange(len(rates)) + 0.5, texts, rotation=45 if slanted else 0)
        axes.set_yticks(np.arange(len(sizes)) + 0.5, [_text(side, size) for size in sizes])
        axes.tick_params(labelleft=axes is panels[0], length=0)
    colour_bar(figure, image, panels, with_unit(name))
    others = sorted(varied.keys() - {"model", "strategy", "learning_rate", side})
    best = f" · the best over {', '.join(others)}" if others else ""
    brackets = " · in brackets: stopped early, with its value there" if any(map(stopped, trials)) else ""
    marks = f"{brackets} · x: diverged{_left_out(trials)}, blank: no result"
    return captioned(figure, f"{caption_of_draws(trials)}{best}{marks}")


def _is_table(trials: Sequence[TrialRecord], kinds: Mapping[str, Sequence[TrialRecord]], side: str) -> bool:
    """Return whether trials fill more than half of the cells of a table with two rows and columns at least."""
    rows = len(_values(trials, side))
    columns = [len(_values(members, "learning_rate")) for members in kinds.values()]
    cells = [{(used(one).get("learning_rate"), used(one).get(side)) for one in members} for members in kinds.values()]
    return rows > 1 and max(columns) > 1 and 2 * sum(map(len, cells)) > rows * sum(columns)


def _left_out(trials: Sequence[TrialRecord]) -> str:
    # The message of a mean tells of repeats that diverged; a trial's own may be any.
    some = any(trial.repeats > 1 and trial.standing.message for trial in trials)
    return ", a mean leaves out repeats that did" if some else ""


def _values(trials: Sequence[TrialRecord], name: str) -> list[Any]:
    """Return the values that trials use, in order; None is an unused learning rate, or a batch size of all examples."""
    found = {used(trial).get(name) for trial in trials}
    numbers = all(value is None or isinstance(value, int | float) for value in found)
    return sorted(found, key=lambda value: (value is None, 0 if value is None else value if numbers else str(value)))


def _side(varied: Collection[str]) -> str:
    """Return the key of the vertical axis."""
    others = [name for name in varied if name not in {"model", "strategy", "learning_rate"} and "." not in name]
    return "batch_size" if "batch_size" in varied or not others else others[0]


def _text(name: str, value: Any) -> str:
    return "not used" if value is None and name != "batch_size" else text_of(name, value)


def _cells(
    trials: Sequence[TrialRecord], rates: Sequence[Any], sizes: Sequence[Any], side: str
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return the accuracy of the best trial of every cell, masked if there is none.

    Return also the cells whose trials all diverged, and those whose best one was stopped early.
    """
    cells = np.full((len(sizes), len(rates)), np.nan)
    failed, early = np.zeros((2, *cells.shape), dtype=bool)
    for trial in trials:  # the best first
        setting: Mapping[str, Any] = used(trial)
        place = sizes.index(setting.get(side)), rates.index(setting.get("learning_rate"))
        score = ranking_value(trial)
        if score is not None and np.isnan(cells[place]):
            cells[place], early[place] = score, stopped(trial)
        failed[place] |= diverged(trial)
    return np.ma.masked_invalid(cells), failed & np.isnan(cells), early


def _write(
    axes: Axes, cells: Any, failed: np.ndarray, early: np.ndarray, metric: str, *, scale: Normalize, letters: float
) -> None:
    for row, column in np.ndindex(cells.shape):
        at = column + 0.5, row + 0.5
        if failed[row, column]:
            axes.text(*at, "x", ha="center", va="center", fontsize=14, color=INK)
        elif not np.ma.is_masked(cells[row, column]):
            colour = "white" if scale(cells[row, column]) < 0.5 else "black"
            text = value_text(cells[row, column], metric).removesuffix(" %")
            text = f"({text})" if early[row, column] else text
            axes.text(*at, text, ha="center", va="center", fontsize=letters, color=colour)
