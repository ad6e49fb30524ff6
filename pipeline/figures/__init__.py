"""The figures of finished trials: each task that has one is drawn by a module of its own, as PNG."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.figures.finite_difference import draw_finite_difference
from pipeline.figures.landscape import draw_landscape
from pipeline.figures.one_dimensional import draw_one_dimensional
from pipeline.figures.step_size import draw_step_size
from pipeline.plan import PlannedTrial
from pipeline.recorder.protocol import Series
from tasks.events import Outcome, Result
from tasks.finite_difference import FiniteDifference
from tasks.landscape import Landscape
from tasks.one_dimensional import OneDimensional
from tasks.step_size import StepSize

__all__ = ["draw"]


def draw(trial: PlannedTrial, result: Result, series: Mapping[str, Series]) -> Mapping[str, bytes]:
    """Return the figures of a finished trial by file name; none where it did not complete or has nothing to show."""
    del series  # no figure so far shows a curve
    if result.outcome is not Outcome.COMPLETE:
        return {}
    match trial.trial.task:
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
