"""Best loss against cost: the lowest loss of each strategy, or other swept value, over evaluations and arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from pipeline.config.settings import swept_values, text_of
from pipeline.figures.style import LINES, SIDE_BY_SIDE, blank, captioned, label, legend_below, logarithmic, loss_name
from pipeline.figures.trials import by_kind, caption_of, loss_of, models, noun
from pipeline.results.curves import TrialRecord

# The factor by which the axis goes above the median first loss (of trials that did not diverge), and below the median
# last loss or the winner's: a trial that nearly diverged, or a minibatch of one example, would squeeze the others.
_FAR = 100.0

_MOST_KINDS = 8  # that a legend has room for

_FEW = 100  # examples of a point, whose lowest loss is a matter of luck


def draw_costs(trials: Sequence[TrialRecord]) -> bytes:
    """Return the lowest training loss so far, of every trial and of the best trial of each kind.

    Only trials with the winner's kind of loss are shown, since different losses cannot be compared. The figure is empty
    if no loss was finite.
    """
    kind = loss_of(trials[0])
    shown = [trial for trial in trials if loss_of(trial) == kind and "train/loss" in trial.curves]
    costs = ("evaluations", "examples")
    if not any(len(_lowest(trial, cost)) for trial in shown for cost in costs if cost in trial.curves):
        return b""
    (key, kinds), one_model = _kinds(shown), len(models(shown)) == 1
    what = loss_name(shown[0].standing.trial) if kind else "training"
    figure, panels = blank(panels=2, title=f"Lowest {what} loss so far, by {key}")
    # The arithmetic of an example depends on the model only.
    examples = "examples evaluated (arithmetic)" if one_model else "examples evaluated"
    for axes, cost, text in zip(panels, costs, ("evaluations of the loss", examples), strict=True):
        label(axes, x=text, y="lowest training loss so far")
        drawn: list[np.ndarray] = []  # the winner's first
        begun: list[float] = []  # the first losses of those that did not diverge
        for (name, members), line in zip(kinds.items(), itertools.cycle(LINES), strict=False):
            found = [(trial, _lowest(trial, cost)) for trial in members if cost in trial.curves]
            curves = [curve for _, curve in found if len(curve)]
            if curves:
                _draw(axes, curves, name, *line)
                begun += [float(curve[0, 1]) for trial, curve in found if len(curve) and not trial.standing.diverged]
                losses = [curve[:, 1] for curve in curves]
                drawn = [*losses, *drawn] if members[0] is shown[0] else [*drawn, *losses]
        logarithmic(axes, "xy")
        axes.autoscale_view()
        _limit(axes, drawn, begun)
    legend_below(figure)
    caption = f"{caption_of(shown)} · thick: of each the best {noun(shown)}, with its lowest loss, thin: the others"
    if sizes := sorted({trial.standing.used["batch_size"] for trial in shown if _has_few_examples(trial)}):
        caption += f" · with batch_size={', '.join(map(str, sizes))} a loss is of few examples, and the lowest is luck"
    return captioned(figure, caption, margins=SIDE_BY_SIDE)


def _has_few_examples(trial: TrialRecord) -> bool:
    size, every = trial.standing.used.get("batch_size"), trial.standing.trial.trial.record_every
    return size is not None and size * every < _FEW


def _kinds(trials: Sequence[TrialRecord]) -> tuple[str, dict[str, list[TrialRecord]]]:
    """Return what tells trials apart, and the trials of each kind.

    It is the model or the strategy, or else the first swept key that has few values.
    """
    kinds = by_kind(trials)
    if len(kinds) > 1:
        return "strategy" if len(models(trials)) == 1 else "model", kinds
    for key, values in swept_values([trial.standing.used for trial in trials]).items():
        if len(values) <= _MOST_KINDS and all(key in trial.standing.used for trial in trials):
            return key, {
                text_of(key, value): [trial for trial in trials if trial.standing.used[key] == value]
                for value in values
            }
    return "strategy", kinds


def _draw(axes: Axes, curves: Sequence[np.ndarray], name: str, style: str, colour: str) -> None:
    """Draw the trials of a kind, the best first."""
    best = curves[0]
    text = f"{name}: {best[-1, 1]:.3g}"
    mark = "o" if len(best) == 1 else ""
    axes.plot(*best.T, marker=mark, color=colour, linestyle=style, linewidth=2.6, label=text, zorder=3)
    # One collection: a thousand separate lines take seconds.
    axes.add_collection(LineCollection(curves[1:], colors=colour, linewidths=0.8, alpha=0.35))
    points = [curve[0] for curve in curves[1:] if len(curve) == 1]
    axes.plot(*np.reshape(points, (-1, 2)).T, ".", color=colour, alpha=0.35)


def _lowest(trial: TrialRecord, cost: str) -> np.ndarray:
    """Return the cost and the lowest loss, ``(P, 2)``, of the points before the loss ceased to be finite."""
    loss, spent = trial.curves["train/loss"], trial.curves[cost]
    common, here, there = np.intersect1d(loss.steps, spent.steps, return_indices=True)
    values = loss.values[here]
    count = len(common) if np.isfinite(values).all() else int(np.argmin(np.isfinite(values)))
    return np.column_stack([spent.values[there][:count], np.minimum.accumulate(values[:count])])


def _limit(axes: Axes, drawn: Sequence[np.ndarray], begun: Sequence[float]) -> None:
    """Limit the axis to the losses of most trials, and of the first, the winner. They fall, and may end at 0."""
    losses = [loss[loss > 0] for loss in drawn if (loss > 0).any()]
    if losses:
        first, last = (np.array([loss[place] for loss in losses]) for place in (0, -1))
        lowest = max(float(last.min()), min(float(last[0]), float(np.median(last))) / _FAR)
        axes.set_ylim(lowest / 2, min(float(first.max()), float(np.median(begun or first)) * _FAR) * 1.2)
