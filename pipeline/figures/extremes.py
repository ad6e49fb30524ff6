"""The best and the worst trial of a sweep: their losses over the steps, in one figure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np

from pipeline.figures.style import BLUE, SIDE_BY_SIDE, VERMILION, blank, captioned, label, legend
from pipeline.figures.trials import accuracy, caption_of
from pipeline.recorder.sweep_run import TrialRecord

_COLUMNS = 40


def draw_extremes(trials: Sequence[TrialRecord]) -> bytes:
    """Return the loss curves of the best and the worst trial; a trial that diverged is the worst."""
    # Where a loss was never finite there is no curve.
    shown = [trial for trial in trials if "train/loss" in trial.curves and _finite(trial).any()]
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
        name = "\n".join(textwrap.wrap(f"{what}: {standing.trial.name}", _COLUMNS))
        label(axes, x="step", y="loss", title=f"{name}\n{standing.measure}: {told}")
        heights = []
        for metric, text, style in (("train/loss", "training", "-"), ("val/loss", "validation (data loss)", "--")):
            if metric in trial.curves:
                curve = trial.curves[metric]
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
    return captioned(figure, caption_of(trials), margins={**SIDE_BY_SIDE, "top": 0.82})


def _finite(trial: TrialRecord) -> np.ndarray:
    return np.isfinite(trial.curves["train/loss"].values)
