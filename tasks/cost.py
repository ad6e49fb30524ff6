"""The cost of fused trials: the multiplications of their steps and evaluations, and what takes as long."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from tasks.datasets.dataset import Dataset
from tasks.strategies.strategy import Work
from tasks.trial import Trial, uses_model

READ_COST = 60
"""The cost of reading a pixel and casting it, in multiplications, however many trials share it."""

STEP_COST = 2**23
"""What a step costs beside its arithmetic, in multiplications: of small data it is most."""

LOSS_COST = 200
"""The cost of a score's part in the loss, in multiplications."""


class DataSize(NamedTuple):
    """What a cost depends on in a data set: the numbers of its examples and classes, and the image shape."""

    examples: int
    validation: int
    test: int
    image_shape: tuple[int, ...]
    classes: int

    @classmethod
    def of(cls, dataset: Dataset) -> DataSize:
        """Return the size of a data set."""
        counts = len(dataset.train), len(dataset.validation), len(dataset.test)
        return cls(*counts, dataset.image_shape, len(dataset.classes))


class Cost(NamedTuple):
    """The cost of fused trials in multiplications: what a group of them has once, and what each adds."""

    shared: float
    own: float

    def times(self, share: float) -> Cost:
        """Return the cost of a share of the steps."""
        return Cost(share * self.shared, share * self.own)

    def of(self, trials: int) -> float:
        """Return the cost of a group of so many of the trials."""
        return self.shared + trials * self.own


def cost(trials: Sequence[Trial], data_size: DataSize) -> Cost:
    """Return the cost of trials that can be fused."""
    whole, alone = (_multiplications(some, data_size) for some in (trials, trials[:1]))
    own = (whole - alone) / (len(trials) - 1) if len(trials) > 1 else alone
    return Cost(shared=alone - own, own=own)


def step_cost(trial: Trial, data_size: DataSize) -> float:
    """Return the cost of a step of a trial alone."""
    return cost([trial], data_size).of(1) / trial.steps


def _multiplications(trials: Sequence[Trial], data_size: DataSize) -> float:
    """Return how many multiplications fused trials take together, and what takes as long."""
    first, count = trials[0], len(trials)
    work, evaluated = Work(readings=1, passes=2 * count), 0
    if not uses_model(first):
        return work.passes * first.steps
    if first.task.trains:
        work = first.strategy.work(trials, data_size.examples)
        evaluated = -(-first.steps // first.evaluate_every) * data_size.validation + data_size.test
    seen = first.steps * (first.batch_size or data_size.examples)
    model = first.model.multiplications(data_size.image_shape, data_size.classes)
    reading, losses = READ_COST * math.prod(data_size.image_shape), LOSS_COST * count * data_size.classes
    of_steps = seen * (work.passes * model + work.readings * reading + losses) + first.steps * work.readings * STEP_COST
    return of_steps + evaluated * (count * model + reading + losses)
