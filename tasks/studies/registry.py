"""The table of tasks."""

from collections.abc import Mapping

from tasks.studies.finite_difference import FiniteDifference
from tasks.studies.gradient_check import GradientCheck
from tasks.studies.landscape import Landscape
from tasks.studies.one_dimensional import OneDimensional
from tasks.studies.step_size import StepSize
from tasks.studies.train import Train
from tasks.trial import Task

TASKS: Mapping[str, type[Task]] = {
    "train": Train,
    "landscape": Landscape,
    "one_dimensional": OneDimensional,
    "step_size": StepSize,
    "gradient_check": GradientCheck,
    "finite_difference": FiniteDifference,
}
