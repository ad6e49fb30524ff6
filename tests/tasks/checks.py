"""Gradient checks of one trial."""

from tasks.studies.gradient_check import GradientCheck
from tasks.trial import Trial


def checked(dataset, **changes):
    """Return the result of a check on a data set, of a trial with these changes."""
    task = changes.pop("task", GradientCheck())
    trial = Trial(task=task, **changes)
    (result,) = task.run([trial], dataset, threads=1)
    return result
