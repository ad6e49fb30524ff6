"""The table of tasks: what a trial can be asked to do."""

from collections.abc import Mapping

from tasks.gradient_check import GradientCheck
from tasks.train import Train
from tasks.trial import Task

TASKS: Mapping[str, type[Task]] = {"train": Train, "gradient_check": GradientCheck}
