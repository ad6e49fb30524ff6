"""How many trials of a group fit in a device's memory: a small model of what a step holds, measured once.

The copies were counted on NumPy with every loss, optimiser and regularizer (they differ by the optimiser's state
only). A model that errs costs little: a group that does not fit is halved where it is computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tasks.arrays.devices import ON_DEVICE, AtOnce
from tasks.datasets.dataset import Dataset
from tasks.models.model import ScoreLinear
from tasks.trial import Trial, is_of_model

# Of the memory that is free: the library keeps freed pieces that it cannot join.
_SHARE = 0.8

_FLOAT = np.dtype(np.float32).itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What the memory of a trial depends on.

    ``weights`` are the bytes of a trial's parameters, ``scores`` those of one example's scores, ``layers`` those that
    its layers keep of one example in a step. ``train``, ``evaluated`` and ``examples_a_step`` are the examples of the
    training set, of the largest block that is evaluated and behind one step; ``block`` and ``candidates`` are worked
    on at once.
    """

    weights: int
    scores: int
    layers: int
    train: int
    evaluated: int
    examples_a_step: int
    block: int
    candidates: int

    def of_examples(self, seen: int) -> int:
        """Return the bytes of what the examples make, where a step has gradients of a block of so many."""
        # An evaluation goes forward only.
        return max((6 * self.scores + self.layers) * seen, (5 * self.scores + self.layers // 2) * self.evaluated)

    @classmethod
    def of(cls, trial: Trial, dataset: Dataset, *, most: AtOnce) -> Sizes:
        """Return the sizes of a trial on a dataset, on a device that works on ``most`` at once."""
        model, given, on_device = trial.model, (dataset.image_shape, len(dataset.classes)), most is ON_DEVICE
        block = most.examples if on_device else model.block(*given) or most.examples
        layers = model.numbers(*given) + (model.passing_numbers(*given) if on_device else 0)
        return cls(
            weights=_FLOAT * sum(math.prod(shape) for shape in model.shapes(*given).values()),
            scores=_FLOAT * len(dataset.classes),
            layers=_FLOAT * layers,
            train=len(dataset.train),
            evaluated=min(max(len(dataset.validation), len(dataset.test)), block),
            examples_a_step=trial.batch_size or len(dataset.train),
            block=block,
            # Without scores that are linear, the host draws and tries one after the other.
            candidates=most.candidates if on_device or isinstance(model, ScoreLinear) else 1,
        )


def widest_group(trial: Trial, dataset: Dataset, *, available: int, most: AtOnce) -> int:
    """Return how many trials like this one a group may have, at least 1, in so many bytes of memory.

    ``most`` is what the device works on at once.
    """
    if not is_of_model(trial):
        return 1
    splits = (dataset.train, dataset.validation, dataset.test)
    beside = sum(split.images.nbytes + split.labels.nbytes for split in splits)
    beside += bytes_beside(trial, dataset, most=most)
    return max(1, int((_SHARE * available - beside) // bytes_a_trial(trial, dataset, most=most)))


def bytes_of_group(trial: Trial, dataset: Dataset, *, count: int, most: AtOnce) -> int:
    """Return the bytes that so many trials like this one take while they are trained, beside the data set.

    What a task takes that has a model of its own is not known, and left out.
    """
    if not is_of_model(trial):
        return 0
    return bytes_beside(trial, dataset, most=most) + count * bytes_a_trial(trial, dataset, most=most)


def bytes_beside(trial: Trial, dataset: Dataset, *, most: AtOnce) -> int:
    """Return the bytes that a group takes however many trials it has, beside the data set."""
    sizes = Sizes.of(trial, dataset, most=most)
    # A block of features, on a device with what it is made from, and what passes through the layers of one trial.
    features = (4 if most is ON_DEVICE else 1) * (math.prod(dataset.image_shape) + 1)
    passing = 0 if most is ON_DEVICE else trial.model.passing_numbers(dataset.image_shape, len(dataset.classes))
    examples = min(max(sizes.examples_a_step, sizes.evaluated), sizes.block)
    return _FLOAT * examples * (features + passing) + trial.strategy.bytes_beside(trial, sizes)


def bytes_a_trial(trial: Trial, dataset: Dataset, *, most: AtOnce) -> int:
    """Return the bytes that a trial adds to its group while it is trained."""
    return trial.strategy.bytes_a_trial(trial, Sizes.of(trial, dataset, most=most))
