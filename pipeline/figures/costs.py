"""Best loss against cost: how far each strategy comes with its evaluations, and with the arithmetic they take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pipeline.figures.style import COLOURS, SIDE_BY_SIDE, blank, captioned, label, legend
from pipeline.figures.trials import caption_of, loss_name, strategy
from pipeline.recorder.sweep_run import TrialRecord

# Times the middle of what is drawn: on its way to infinity one trial would press the others flat.
_HIGHEST = 20.0


def draw_costs(trials: Sequence[TrialRecord]) -> bytes:
    """Return the lowest training loss so far, of every trial and of the best of each strategy.

    Losses of different kinds are not compared: the trials shown are those of the winner's kind of loss.
    """
    kind = loss_name(trials[0])
    shown = [trial for trial in trials if loss_name(trial) == kind and "train/loss" in trial.curves]
    strategies = list(dict.fromkeys(sorted(strategy(trial) for trial in shown)))
    figure, panels = blank(panels=2, title=f"Lowest {kind} loss so far, by strategy")
    costs = (("evaluations", "evaluations of the loss"), ("examples", "examples evaluated (arithmetic)"))
    for axes, (cost, text) in zip(panels, costs, strict=True):
        label(axes, x=text, y="lowest training loss so far")
        leaders: list[np.ndarray] = []
        for name, colour in zip(strategies, COLOURS, strict=False):
            curves = [_lowest(trial, cost) for trial in shown if strategy(trial) == name and cost in trial.curves]
            leaders += _draw(axes, [curve for curve in curves if len(curve[1])], name, colour)
        axes.set_xscale("log")
        axes.set_yscale("log")
        _limit(axes, leaders)
    legend(panels[0], loc="lower left")
    caption = f"{caption_of(shown)} · thick: the trial of a strategy with the best accuracy, thin: the others"
    return captioned(figure, caption, margins=SIDE_BY_SIDE)


def _draw(axes: Axes, curves: Sequence[tuple[np.ndarray, np.ndarray]], name: str, colour: str) -> Sequence[np.ndarray]:
    """Draw the trials of a strategy, the best first; return the losses of the best, where there is one."""
    for cost, loss in curves[1:]:
        axes.plot(cost, loss, color=colour, linewidth=0.8, alpha=0.35)
    for cost, loss in curves[:1]:
        axes.plot(cost, loss, color=colour, linewidth=2.6, label=f"{name}: {loss[-1]:.3g}", zorder=3)
    return [loss for _, loss in curves[:1]]


def _lowest(trial: TrialRecord, cost: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the costs and lowest losses of the points before the loss ceased to be finite."""
    loss, spent = trial.curves["train/loss"], trial.curves[cost]
    common, here, there = np.intersect1d(loss.steps, spent.steps, return_indices=True)
    values = loss.values[here]
    count = len(common) if np.isfinite(values).all() else int(np.argmin(np.isfinite(values)))
    return spent.values[there][:count], np.minimum.accumulate(values[:count])


def _limit(axes: Axes, leaders: Sequence[np.ndarray]) -> None:
    """Leave out what is far above where most trials are, and the minibatches without any loss below the best."""
    heights = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()] or [np.ones(1)])
    positive = heights[heights > 0]
    ends = [float(loss[loss > 0].min()) for loss in leaders if (loss > 0).any()]
    if len(positive) and ends:
        axes.set_ylim(min(ends) / 2, min(float(positive.max()) * 1.2, float(np.median(positive)) * _HIGHEST))
