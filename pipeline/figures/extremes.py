"""The best and the worst trial of a sweep: their losses over the steps, in one figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.figures.style import BLUE, VERMILION, blank, captioned, label, legend
from pipeline.figures.trials import accuracy, caption_of
from pipeline.recorder.sweep_run import TrialRecord


def draw_extremes(trials: Sequence[TrialRecord]) -> bytes:
    """Return the loss curves of the best and the worst trial; a trial that diverged is the worst."""
    shown = [trial for trial in trials if "train/loss" in trial.curves]
    if len(shown) < 2:
        return b""
    figure, panels = blank(panels=2, title="Loss of the best and of the worst trial")
    for axes, trial, colour, what in (
        (panels[0], shown[0], BLUE, "best"),
        (panels[1], shown[-1], VERMILION, "worst"),
    ):
        score, standing = accuracy(trial), trial.standing
        outcome = standing.outcome.value if standing.outcome else "not finished"
        told = f"{score:.1f} %" if score is not None else f"{outcome} at step {standing.step}"
        label(axes, x="step", y="loss", title=f"{what}: {standing.trial.name}\n{standing.measure}: {told}")
        heights = []
        for name, text, style in (("train/loss", "training", "-"), ("val/loss", "validation (data loss)", "--")):
            if name in trial.curves:
                curve = trial.curves[name]
                finite = np.isfinite(curve.values)
                heights.append(curve.values[finite])
                marker = "o" if finite.sum() <= 25 else ""
                axes.plot(
                    curve.steps[finite],
                    curve.values[finite],
                    style,
                    color=colour,
                    linewidth=2,
                    marker=marker,
                    label=text,
                )
        values = np.concatenate(heights)
        if values.size and values.min() > 0 and values.max() / values.min() >= 8:
            axes.set_yscale("log")
        legend(axes, loc="upper right")
    return captioned(figure, caption_of(trials))
