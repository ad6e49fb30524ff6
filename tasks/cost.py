"""The cost of a trial: the examples that its steps evaluate, and the multiplications for their scores."""

from __future__ import annotations

from typing import NamedTuple

from tasks.datasets.dataset import Dataset
from tasks.trial import Trial, uses_model


class DataSize(NamedTuple):
    """What a trial's cost depends on in a data set: the numbers of training examples and classes, the image shape."""

    examples: int
    image_shape: tuple[int, ...]
    classes: int

    @classmethod
    def of(cls, dataset: Dataset) -> DataSize:
        """Return the size of a data set."""
        return cls(len(dataset.train), dataset.image_shape, len(dataset.classes))


def examples_seen(trial: Trial, data_size: DataSize) -> int:
    """Return how many examples the steps of a trial evaluate: one evaluation a step."""
    return trial.steps * (trial.batch_size or data_size.examples)


def multiplications(trial: Trial, data_size: DataSize) -> int:
    """Return how many multiplications the scores of all steps of a trial take; one a step for an unknown model."""
    if not uses_model(trial):
        return trial.steps
    return examples_seen(trial, data_size) * trial.model.multiplications(data_size.image_shape, data_size.classes)
