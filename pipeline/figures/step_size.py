"""The figure of task=step_size: the loss after one step against the step's size, both logarithmic."""

from __future__ import annotations

import numpy as np

from pipeline.figures.style import BLUE, INK, ORANGE, VERMILION, blank, captioned, label, legend, logarithmic, loss_name
from pipeline.figures.trials import caption_of_trial
from pipeline.plan.plan import PlannedTrial
from tasks.events import Result

_HIGHEST = 1e250  # a logarithmic axis with its margin has no room for much more


def draw_step_size(trial: PlannedTrial, result: Result) -> bytes:
    """Return the table of step sizes as PNG: where the loss falls, the best step and the overshoot."""
    sizes = result.arrays["step_sizes"]
    losses = result.arrays["data_loss"] + result.arrays["regularization_loss"]
    original = float(result.arrays["original_loss"])
    best = int(np.argmin(losses))
    figure, (axes,) = blank(title=f"The {loss_name(trial)} loss after one step along the negative gradient")
    label(axes, x="step size", y="loss after the step")
    axes.axhline(original, color=INK, linestyle="--", linewidth=1.4, label=f"original loss: {original:.4g}")
    above, fits = losses > original, losses < _HIGHEST
    drawn = sizes[fits], losses[fits]
    axes.plot(*drawn, color=BLUE, linewidth=2, marker="o", markersize=6, label="loss after the step")
    if above.any():
        text, shown = "overshoot: above the original loss", above & fits
        axes.plot(sizes[shown], losses[shown], "o", color=VERMILION, markersize=7, label=text)
    mark = f"lowest: {losses[best]:.4g} with a step of {sizes[best]:.3g}"
    axes.plot(sizes[best], losses[best], "v", color=ORANGE, markeredgecolor=INK, markersize=12, label=mark)
    if above[best:].any():
        first = best + int(np.argmax(above[best:]))
        # From halfway between the last step size that helps and the first that does not.
        begin = float(np.sqrt(sizes[max(first - 1, 0)] * sizes[first]))
        axes.axvspan(begin, sizes[-1], color=VERMILION, alpha=0.07, linewidth=0)
    logarithmic(axes, "x")
    if losses.min() > 0:
        logarithmic(axes, "y")
    else:  # a loss of 0 has no logarithm
        axes.set_yscale("symlog", linthresh=float(losses[losses > 0].min(initial=original or 1.0)))
    # Small steps leave the loss unchanged, so that the left side is free above or below it.
    legend(axes, loc="upper left" if losses[-1] > original else "lower left")
    return captioned(figure, caption_of_trial(trial))
