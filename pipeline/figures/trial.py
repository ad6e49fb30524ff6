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
from tasks.studies.finite_difference import FiniteDifference
from tasks.studies.gradient_check import GradientCheck
from tasks.studies.landscape import Landscape
from tasks.studies.one_dimensional import OneDimensional
from tasks.studies.step_size import StepSize
from tasks.studies.train import Train

_FIGURES: Mapping[type, Callable[[PlannedTrial, Result], bytes]] = {
    FiniteDifference: draw_finite_difference,
    GradientCheck: draw_gradient_check,
    Landscape: draw_landscape,
    OneDimensional: draw_one_dimensional,
    StepSize: draw_step_size,
}


def draw(trial: PlannedTrial, result: Result, series: Mapping[str, Series], dataset: Dataset) -> Mapping[str, bytes]:
    """Return the figures of an ended trial by file name; none if there is nothing to show."""
    if type(trial.trial.task) is Train:
        return draw_training(trial, result, series, dataset)
    return draw_quickly(trial, result, series)


def draw_quickly(trial: PlannedTrial, result: Result, series: Mapping[str, Series]) -> Mapping[str, bytes]:
    """Return the figures of `draw` that are cheap enough for every trial of a sweep: of a training only its curves."""
    task = type(trial.trial.task)
    if task is Train:
        return draw_curves(trial, result, series)
    if task not in _FIGURES:
        return draw_metrics(trial, result, series)
    # A gradient check that failed is drawn, too: it is the one to look at.
    shown = result.outcome is Outcome.COMPLETE or (task is GradientCheck and result.arrays)
    name = str(trial.config["task"]["name"])
    return {f"{name}.png": _FIGURES[task](trial, result)} if shown else {}
