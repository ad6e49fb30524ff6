"""The figures of ended trials: each task that has one is drawn by a module of its own, as PNG."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.figures.finite_difference import draw_finite_difference
from pipeline.figures.gradient_check import draw_gradient_check
from pipeline.figures.landscape import draw_landscape
from pipeline.figures.one_dimensional import draw_one_dimensional
from pipeline.figures.step_size import draw_step_size
from pipeline.figures.training import draw_training
from pipeline.plan import PlannedTrial
from pipeline.recorder.protocol import Series
from tasks.datasets.dataset import Dataset
from tasks.events import Outcome, Result
from tasks.finite_difference import FiniteDifference
from tasks.gradient_check import GradientCheck
from tasks.landscape import Landscape
from tasks.one_dimensional import OneDimensional
from tasks.step_size import StepSize
from tasks.train import Train

__all__ = ["draw"]


def draw(
    trial: PlannedTrial, result: Result, series: Mapping[str, Series], dataset: Dataset
) -> Mapping[str, bytes]:
    """Return the figures of an ended trial by file name; none where there is nothing to show."""
    match trial.trial.task:
        case Train():
            return draw_training(trial, result, series, dataset)
        case GradientCheck() if result.arrays:
            return {"gradient_check.png": draw_gradient_check(trial, result)}
        case _ if result.outcome is not Outcome.COMPLETE:
            return {}
        case Landscape():
            return {"landscape.png": draw_landscape(trial, result)}
        case OneDimensional():
            return {"one_dimensional.png": draw_one_dimensional(trial, result)}
        case StepSize():
            return {"step_size.png": draw_step_size(trial, result)}
        case FiniteDifference():
            return {"finite_difference.png": draw_finite_difference(trial, result)}
        case _:
            return {}
