"""The ranking metric over learning rate and batch size: a heat map for each strategy or model, in one colour scale."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize

from pipeline.config.settings import swept_values, text_of
from pipeline.figures.style import INK, blank, captioned, colour_bar, label
from pipeline.figures.trials import (
    by_kind,
    caption_of_draws,
    ranking_metric,
    ranking_value,
    score_scale,
    stopped,
    value_text,
    with_unit,
)
from pipeline.results.curves import TrialRecord

_COLOUR_MAP = "cividis"
_LARGEST, _WIDTH = 12, 125  # the largest size of a cell's text, and the width that the columns share
_MOST = 16  # columns or rows that can be read
_LETTERS = 60  # ticks with more do not fit beside each other

_Cells = Mapping[tuple[int, int], TrialRecord]
"""Trials by row and column."""


def draw_heat_maps(trials: Sequence[TrialRecord]) -> bytes:
    """Return the ranking metric of the best trial at each learning rate and batch size, for each strategy and model.

    Another swept choice replaces a batch size that is not swept. It is empty if the trials leave half of the cells
    blank, as those of a search do, or if there are too many cells to read.
    """
    varied = swept_values([trial.standing.used for trial in trials])
    side, kinds, name = _side(varied), by_kind(trials), ranking_metric(trials)
    sizes = _values(trials, side)
    every = {kind: _values(members, "learning_rate") for kind, members in kinds.items()}
    columns = sum(map(len, every.values()))
    if not _is_table(kinds, every, sizes, side):
        return b""
    figure, panels = blank(panels=len(kinds), title=f"{with_unit(name)} over learning_rate and {side}")
    scale, every_cell = score_scale(trials), []
    for axes, (kind, rates) in zip(panels, every.items(), strict=True):
        cells, letters = _cells(kinds[kind], rates, sizes, side), min(_LARGEST, _WIDTH / columns)
        image = _draw(axes, cells, (len(sizes), len(rates)), scale, letters)
        every_cell += [cells.get((row, column)) for row in range(len(sizes)) for column in range(len(rates))]
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
    marks = {
        "in brackets: stopped early, with its value there": any(one and stopped(one) for one in every_cell),
        "x: diverged": any(one and ranking_value(one) is None for one in every_cell),
        # The message of a mean tells of repeats that diverged; a trial's own may be any.
        "a mean leaves out repeats that diverged": any(one.is_mean and one.standing.message for one in trials),
        "blank: no result": None in every_cell,
    }
    notes = "".join(f" · {mark}" for mark, is_there in marks.items() if is_there)
    return captioned(figure, f"{caption_of_draws(trials)}{best}{notes}")


def _is_table(
    kinds: Mapping[str, Sequence[TrialRecord]], rates: Mapping[str, Sequence[Any]], sizes: Sequence[Any], side: str
) -> bool:
    """Return whether trials fill more than half of a table that has two rows and columns, and not too many to read."""
    rows, columns = len(sizes), [len(every) for every in rates.values()]
    every = [[one.standing.used for one in members] for members in kinds.values()]
    cells = [{(used.get("learning_rate"), used.get(side)) for used in members} for members in every]
    is_readable = rows > 1 and max(columns) > 1 and max(rows, sum(columns)) <= _MOST
    return is_readable and 2 * sum(map(len, cells)) > rows * sum(columns)


def _values(trials: Sequence[TrialRecord], name: str) -> list[Any]:
    """Return the values that trials use, in order; None is an unused learning rate, or a batch size of all examples."""
    found = {trial.standing.used.get(name) for trial in trials}
    numbers = all(value is None or isinstance(value, int | float) for value in found)
    return sorted(found, key=lambda value: (value is None, value if numbers else str(value)))


def _side(varied: Collection[str]) -> str:
    """Return the key of the vertical axis."""
    others = [name for name in varied if name not in {"model", "strategy", "learning_rate"} and "." not in name]
    return "batch_size" if "batch_size" in varied or not others else others[0]


def _text(name: str, value: Any) -> str:
    return "not used" if value is None and name != "batch_size" else text_of(name, value)


def _cells(trials: Sequence[TrialRecord], rates: Sequence[Any], sizes: Sequence[Any], side: str) -> _Cells:
    """Return the best trial of every cell; one that diverged if no other has a value."""
    cells: dict[tuple[int, int], TrialRecord] = {}
    for trial in trials:  # the best first
        if ranking_value(trial) is not None or trial.standing.diverged:
            used = trial.standing.used
            cells.setdefault((sizes.index(used.get(side)), rates.index(used.get("learning_rate"))), trial)
    return cells


def _draw(axes: Axes, cells: _Cells, shape: tuple[int, int], scale: Normalize, letters: float) -> QuadMesh:
    """Draw every cell in the colour of its value, and its value as text."""
    values = np.full(shape, np.nan)
    for (row, column), trial in cells.items():
        text, size, colour = "x", 14.0, INK
        if (value := ranking_value(trial)) is not None:
            values[row, column] = value
            text = value_text(value, trial.standing.criterion.metric).removesuffix(" %")
            text = f"({text})" if stopped(trial) else text
            size, colour = letters, "white" if scale(value) < 0.5 else "black"
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=size, color=colour)
    return axes.pcolormesh(values, cmap=_COLOUR_MAP, norm=scale, edgecolors="white")
