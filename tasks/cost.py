"""What a trial costs: the multiplications behind its steps, of any model."""

from __future__ import annotations

from typing import NamedTuple

from tasks.datasets.dataset import Dataset
from tasks.trial import Trial, is_of_model


class Extent(NamedTuple):
    """What of a data set costs depend on: the number of training examples, the shape of an image, the classes."""

    examples: int
    image_shape: tuple[int, ...]
    classes: int

    @classmethod
    def of(cls, dataset: Dataset) -> Extent:
        """Return the extent of a data set."""
        return cls(len(dataset.train), dataset.image_shape, len(dataset.classes))


def examples_seen(trial: Trial, extent: Extent) -> int:
    """Return how many examples the steps of a trial evaluate: one evaluation a step."""
    return trial.steps * (trial.batch_size or extent.examples)


def multiplications(trial: Trial, extent: Extent) -> int:
    """Return how many multiplications the scores behind all steps of a trial take; one a step where that is unknown."""
    if not is_of_model(trial):
        return trial.steps
    return examples_seen(trial, extent) * trial.model.multiplications(extent.image_shape, extent.classes)
