"""The figure of task=one_dimensional: the terms of the loss against one weight, and their mean."""

from __future__ import annotations

import itertools

import numpy as np

from pipeline.figures.style import INK, LEGEND_ROW, LINES, blank, captioned, label, legend, loss_name
from pipeline.figures.trials import caption_of_trial
from pipeline.plan.plan import PlannedTrial
from tasks.events import Result
from tasks.studies.one_dimensional import OneDimensional

_DASHES = ("-", "--", ":", "-.")
_MOST_NAMED, _MOST_ROWS = 3, 6  # points whose terms, and rows, a legend has room for


def draw_one_dimensional(trial: PlannedTrial, result: Result) -> bytes:
    """Return the terms, a colour for each point, and their sum over classes and mean over points, as PNG."""
    task = trial.trial.task
    assert isinstance(task, OneDimensional)
    w, terms, loss = (result.arrays[name] for name in ("w", "terms", "loss"))
    margin = f"{trial.trial.loss.offset:g}"
    title = f"The {loss_name(trial)} loss of one-dimensional points, term by term"
    figure, (left, right) = blank(panels=2, title=title)
    name = f"w{_subscript(task.varied)}, the weight of class {task.varied}"
    label(left, x=name, y="term of the loss", title="each term: flat, or linear and clamped at 0")
    label(right, x=name, y="loss", title="their sum: piecewise linear, convex")
    right.plot(w, loss, color=INK, linewidth=2.6, label=f"L = sum of the terms / {len(terms)}")
    for point, (own, (line, colour)) in enumerate(zip(terms, LINES, strict=False)):
        i = _subscript(point)
        others = [j for j in range(len(terms)) if j != point]
        for other, style in zip(others, itertools.cycle(_DASHES), strict=False):
            text = f"max(0, w{_subscript(other)}x{i} - w{i}x{i} + {margin})"
            if len(terms) > _MOST_NAMED:
                text = f"terms of L{i}" if other == others[0] else ""
            left.plot(w, own[other], style, color=colour, linewidth=2.2, label=text)
        right.plot(w, own.sum(axis=0) / len(terms), line, color=colour, linewidth=1.6, label=f"L{i} / {len(terms)}")
    kinks = np.flatnonzero(np.diff(terms > 0, axis=-1).any(axis=(0, 1)))
    right.plot(w[kinks], loss[kinks], "o", color=INK, markersize=6, label="kinks")
    for axes in (left, right):
        axes.set_xlim(w[0], w[-1])
        names = len(axes.get_legend_handles_labels()[0])
        columns = 1 + (names > _MOST_ROWS)
        room = LEGEND_ROW * (-(-names // columns) + 1)  # above the lines, for the legend
        axes.set_ylim(0, axes.get_ylim()[1] / (1 - room))
        legend(axes, loc="upper center", ncols=columns)
    return captioned(figure, caption_of_trial(trial))


def _subscript(number: int) -> str:
    return "".join("₀₁₂₃₄₅₆₇₈₉"[int(digit)] for digit in str(number))
