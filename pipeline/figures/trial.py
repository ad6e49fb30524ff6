"""The figures of ended trials, as PNG: one module for each task that has one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pipeline.figures.finite_difference import draw_finite_difference
from pipeline.figures.gradient_check import draw_gradient_check
from pipeline.figures.landscape import draw_landscape
from pipeline.figures.metrics import draw_metrics
from pipeline.figures.one_dimensional import draw_one_dimensional
from pipeline.figures.step_size import draw_step_size
from pipeline.figures.training import draw_curves, draw_training
from pipeline.plan.plan import PlannedTrial
from pipeline.results.curves import Series
from tasks.datasets.dataset import Dataset
from tasks.events import Outcome, Result

_FIGURES: Mapping[str, Callable[[PlannedTrial, Result], bytes]] = {
    "finite_difference": draw_finite_difference,
    "gradient_check": draw_gradient_check,
    "landscape": draw_landscape,
    "one_dimensional": draw_one_dimensional,
    "step_size": draw_step_size,
}
"""The figures of our own tasks but train, by name."""


def draw(trial: PlannedTrial, result: Result, series: Mapping[str, Series], dataset: Dataset) -> Mapping[str, bytes]:
    """Return the figures of an ended trial by file name; none if there is nothing to show."""
    if trial.config["task"]["name"] == "train":
        return draw_training(trial, result, series, dataset)
    return draw_quickly(trial, result, series)


def draw_quickly(trial: PlannedTrial, result: Result, series: Mapping[str, Series]) -> Mapping[str, bytes]:
    """Return the figures of `draw` that are cheap enough for every trial of a sweep: of a training only its curves."""
    task = trial.config["task"]["name"]
    if task == "train":
        return draw_curves(trial, result, series)
    if task not in _FIGURES:
        return draw_metrics(trial, result, series)
    # A gradient check that failed is drawn, too: it is the one to look at.
    shown = result.outcome is Outcome.COMPLETE or (task == "gradient_check" and result.arrays)
    return {f"{task}.png": _FIGURES[task](trial, result)} if shown else {}
