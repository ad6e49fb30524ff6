"""Best loss against cost: the lowest loss of each strategy, or model, over evaluations and over arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from pipeline.figures.style import LINES, SIDE_BY_SIDE, blank, captioned, label, legend
from pipeline.figures.trials import by_kind, caption_of, loss_name, models, noun
from pipeline.record.drawings import TrialRecord

# Wide enough for the numbers of a logarithmic axis that spans less than a decade.
_MARGINS = {**SIDE_BY_SIDE, "left": 0.125, "wspace": 0.38}

# The top of the axis, in medians of the losses: a diverging trial would squeeze the others.
_HIGHEST = 20.0


def draw_costs(trials: Sequence[TrialRecord]) -> bytes:
    """Return the lowest training loss so far, of every trial and of the best trial of each strategy, or model.

    Only trials with the winner's kind of loss are shown, since different losses cannot be compared.
    """
    kind = loss_name(trials[0])
    shown = [trial for trial in trials if loss_name(trial) == kind and "train/loss" in trial.curves]
    if not any(cost in trial.curves for trial in shown for cost in ("evaluations", "examples")):
        return b""
    kinds, one_model = by_kind(shown), len(models(shown)) == 1
    figure, panels = blank(
        panels=2, title=f"Lowest {kind or 'training'} loss so far, by {'strategy' if one_model else 'model'}"
    )
    # The arithmetic of an example depends on the model only.
    examples = "examples evaluated (arithmetic)" if one_model else "examples evaluated"
    costs = (("evaluations", "evaluations of the loss"), ("examples", examples))
    for axes, (cost, text) in zip(panels, costs, strict=True):
        label(axes, x=text, y="lowest training loss so far")
        drawn: list[list[np.ndarray]] = []
        for (name, members), line in zip(kinds.items(), itertools.cycle(LINES), strict=False):
            curves = [_lowest(trial, cost) for trial in members if cost in trial.curves]
            curves = [curve for curve in curves if len(curve)]
            if curves:
                _draw(axes, curves, name, *line)
                drawn.append([curve[:, 1] for curve in curves])
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.autoscale_view()
        _limit(axes, drawn)
    legend(panels[0], loc="lower left")
    caption = f"{caption_of(shown)} · thick: of each the best {noun(shown)}, thin: the others"
    return captioned(figure, caption, margins=_MARGINS)


def _draw(axes: Axes, curves: Sequence[np.ndarray], name: str, style: str, colour: str) -> None:
    """Draw the trials of a kind, the best first."""
    best = curves[0]
    text = f"{name}: {best[-1, 1]:.3g}"
    axes.plot(best[:, 0], best[:, 1], color=colour, linestyle=style, linewidth=2.6, label=text, zorder=3)
    # One collection: a thousand separate lines take seconds.
    axes.add_collection(LineCollection(curves[1:], colors=colour, linewidths=0.8, alpha=0.35))


def _lowest(trial: TrialRecord, cost: str) -> np.ndarray:
    """Return the cost and the lowest loss, ``(P, 2)``, of the points before the loss ceased to be finite."""
    loss, spent = trial.curves["train/loss"], trial.curves[cost]
    common, here, there = np.intersect1d(loss.steps, spent.steps, return_indices=True)
    values = loss.values[here]
    count = len(common) if np.isfinite(values).all() else int(np.argmin(np.isfinite(values)))
    return np.column_stack([spent.values[there][:count], np.minimum.accumulate(values[:count])])


def _limit(axes: Axes, drawn: Sequence[Sequence[np.ndarray]]) -> None:
    """Limit the axis to the range of most trials: without losses far above the median, and zero losses of minibatches.

    ``drawn`` are the losses of the trials of each kind, the best first.
    """
    heights = np.concatenate([loss for losses in drawn for loss in losses] or [np.ones(1)])
    positive = heights[heights > 0]
    ends = [float(losses[0][losses[0] > 0].min()) for losses in drawn if (losses[0] > 0).any()]
    if len(positive) and ends:
        axes.set_ylim(min(ends) / 2, min(float(positive.max()) * 1.2, float(np.median(positive)) * _HIGHEST))
