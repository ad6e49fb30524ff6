"""Best loss against cost: how far each strategy comes with its evaluations, and with the arithmetic they take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pipeline.figures.style import COLOURS, blank, captioned, label, legend
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
        for name, colour in zip(strategies, COLOURS, strict=False):
            of_strategy = [trial for trial in shown if strategy(trial) == name and cost in trial.curves]
            _draw(axes, [_lowest(trial, cost) for trial in of_strategy], name, colour)
        axes.set_xscale("log")
        axes.set_yscale("log")
    for axes in panels:
        _limit(axes)
    if shown:
        legend(panels[0], loc="lower left")
    return captioned(figure, caption_of(shown) + " · thick: the best trial of its strategy, thin: the others")


def _draw(axes: Axes, curves: Sequence[tuple[np.ndarray, np.ndarray]], name: str, colour: str) -> None:
    curves = [(cost, loss) for cost, loss in curves if len(loss)]
    if not curves:
        return
    best = min(range(len(curves)), key=lambda k: float(curves[k][1][-1]))
    for k, (cost, loss) in enumerate(curves):
        if k != best:
            axes.plot(cost, loss, color=colour, linewidth=0.8, alpha=0.35)
    cost, loss = curves[best]
    axes.plot(cost, loss, color=colour, linewidth=2.6, label=f"{name}: {loss[-1]:.3g}", zorder=3)


def _lowest(trial: TrialRecord, cost: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the costs and lowest losses of the points before the loss ceased to be finite."""
    loss, spent = trial.curves["train/loss"], trial.curves[cost]
    common, here, there = np.intersect1d(loss.steps, spent.steps, return_indices=True)
    values = loss.values[here]
    count = len(common) if np.isfinite(values).all() else int(np.argmin(np.isfinite(values)))
    return spent.values[there][:count], np.minimum.accumulate(values[:count])


def _limit(axes: Axes) -> None:
    """Leave out what is far above where most trials are."""
    heights = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()] or [np.ones(1)])
    positive = heights[heights > 0]
    if len(positive):
        axes.set_ylim(top=min(float(positive.max()) * 1.2, float(np.median(positive)) * _HIGHEST))
