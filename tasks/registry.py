"""The table of tasks: what a trial can be asked to do."""

from collections.abc import Mapping

from tasks.finite_difference import FiniteDifference
from tasks.gradient_check import GradientCheck
from tasks.landscape import Landscape
from tasks.one_dimensional import OneDimensional
from tasks.step_size import StepSize
from tasks.train import Train
from tasks.trial import Task

TASKS: Mapping[str, type[Task]] = {
    "train": Train,
    "landscape": Landscape,
    "one_dimensional": OneDimensional,
    "step_size": StepSize,
    "gradient_check": GradientCheck,
    "finite_difference": FiniteDifference,
}
