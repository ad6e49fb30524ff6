"""The figure of task=one_dimensional: the terms of the loss against one weight, and their mean."""

from __future__ import annotations

import numpy as np

from pipeline.figures.style import COLOURS, INK, blank, captioned, label, legend
from pipeline.figures.trials import caption_of_trial
from pipeline.plan.plan import PlannedTrial
from tasks.events import Result
from tasks.studies.one_dimensional import OneDimensional

_DASHES = ("-", "--", ":", "-.")


def draw_one_dimensional(trial: PlannedTrial, result: Result) -> bytes:
    """Return the terms, a colour for each point, and their sum over classes and mean over points, as PNG."""
    task = trial.trial.task
    assert isinstance(task, OneDimensional)
    w, terms, loss = (result.arrays[name] for name in ("w", "terms", "loss"))
    margin = f"{trial.config['loss']['margin']:g}"
    figure, (left, right) = blank(panels=2, title="The SVM loss of one-dimensional points, term by term")
    name = f"w{_subscript(task.varied)}, the weight of class {task.varied}"
    label(left, x=name, y="term of the loss", title="each term: flat, or linear and clamped at 0")
    label(right, x=name, y="loss", title="their sum: piecewise linear, convex")
    for point in range(len(terms)):
        others = [j for j in range(len(terms)) if j != point]
        for place, other in enumerate(others):
            text = _term(other, point, margin)
            style = _DASHES[place % len(_DASHES)]
            colour = COLOURS[point % len(COLOURS)]
            left.plot(w, terms[point, other], style, color=colour, linewidth=2.2, label=text)
    right.plot(w, loss, color=INK, linewidth=2.6, label=f"L = sum of the terms / {len(terms)}")
    for point in range(len(terms)):
        share = terms[point].sum(axis=0) / len(terms)
        mark = f"L{_subscript(point)} / {len(terms)}"
        right.plot(w, share, color=COLOURS[point % len(COLOURS)], linewidth=1.6, label=mark)
    kinks = np.flatnonzero(np.diff(terms > 0, axis=-1).any(axis=(0, 1)))
    right.plot(w[kinks], loss[kinks], "o", color=INK, markersize=6, label="kinks")
    for axes in (left, right):
        axes.set_xlim(w[0], w[-1])
        # Room above the lines for the legend.
        axes.set_ylim(0, axes.get_ylim()[1] * (1 + 0.055 * len(axes.get_lines())))
        legend(axes, loc="upper center")
    return captioned(figure, caption_of_trial(trial))


def _term(other: int, point: int, margin: str) -> str:
    i, j = _subscript(point), _subscript(other)
    return f"max(0, w{j}x{i} - w{i}x{i} + {margin})"


def _subscript(number: int) -> str:
    return "".join("₀₁₂₃₄₅₆₇₈₉"[int(digit)] for digit in str(number))
