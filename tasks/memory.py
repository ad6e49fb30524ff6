"""An estimate of a group's memory, and of how many trials fit in a device's.

The factors count the arrays that a step holds at once. They were measured on NumPy with every loss, optimiser and
regularizer, which differ by the optimiser's state only. A wrong estimate costs little: a group that does not fit is
halved where it is computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tasks.arrays.devices import DEVICE_BLOCKS, BlockSizes
from tasks.datasets.dataset import Dataset
from tasks.models.model import ScoreLinear
from tasks.trial import Trial, uses_model

# The share of the free memory that is used: a library's allocator fragments.
_SHARE = 0.8

_FLOAT = np.dtype(np.float32).itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What the memory of a trial depends on.

    ``weights`` are the bytes of a trial's parameters, ``scores`` those of one example's scores, ``layers`` those of
    one example's activations that a step keeps. ``train`` is the number of training examples, ``evaluated`` that of
    the largest block of an evaluation, ``examples_a_step`` that of a step; ``block`` examples and ``candidates`` are
    computed at once.
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
        """Return the bytes of scores, activations and gradients, where a step takes blocks of ``seen`` examples."""
        # An evaluation has a forward pass only.
        return max((6 * self.scores + self.layers) * seen, (5 * self.scores + self.layers // 2) * self.evaluated)

    @classmethod
    def of(cls, trial: Trial, dataset: Dataset, *, blocks: BlockSizes) -> Sizes:
        """Return the sizes of a trial on a dataset, on a device with these block sizes."""
        model, given, on_device = trial.model, (dataset.image_shape, len(dataset.classes)), blocks is DEVICE_BLOCKS
        block = blocks.examples if on_device else model.block(*given) or blocks.examples
        layers = model.stored_activations(*given) + (model.transient_activations(*given) if on_device else 0)
        return cls(
            weights=_FLOAT * sum(math.prod(shape) for shape in model.shapes(*given).values()),
            scores=_FLOAT * len(dataset.classes),
            layers=_FLOAT * layers,
            train=len(dataset.train),
            evaluated=min(max(len(dataset.validation), len(dataset.test)), block),
            examples_a_step=trial.batch_size or len(dataset.train),
            block=block,
            # For a model that is not linear, the host draws and evaluates one candidate at a time.
            candidates=blocks.candidates if on_device or isinstance(model, ScoreLinear) else 1,
        )


def widest_group(trial: Trial, dataset: Dataset, *, available: int, blocks: BlockSizes) -> int:
    """Return how many trials like this one fit in a group, at least 1, with ``available`` bytes of memory."""
    if not uses_model(trial):
        return 1
    splits = (dataset.train, dataset.validation, dataset.test)
    fixed = sum(split.images.nbytes + split.labels.nbytes for split in splits)
    fixed += fixed_bytes(trial, dataset, blocks=blocks)
    return max(1, int((_SHARE * available - fixed) // bytes_per_trial(trial, dataset, blocks=blocks)))


def bytes_of_group(trial: Trial, dataset: Dataset, *, count: int, blocks: BlockSizes) -> int:
    """Return the bytes, without the data set's, that ``count`` trials like this one take while they are trained.

    Those of a task with a model of its own are unknown, and counted as 0.
    """
    if not uses_model(trial):
        return 0
    return fixed_bytes(trial, dataset, blocks=blocks) + count * bytes_per_trial(trial, dataset, blocks=blocks)


def fixed_bytes(trial: Trial, dataset: Dataset, *, blocks: BlockSizes) -> int:
    """Return the bytes that a group takes whatever the number of its trials, without the data set's."""
    sizes = Sizes.of(trial, dataset, blocks=blocks)
    # A block of features (on a device also the arrays it is made from), and the transient activations of one trial.
    features = (4 if blocks is DEVICE_BLOCKS else 1) * (math.prod(dataset.image_shape) + 1)
    shapes = (dataset.image_shape, len(dataset.classes))
    transient = 0 if blocks is DEVICE_BLOCKS else trial.model.transient_activations(*shapes)
    examples = min(max(sizes.examples_a_step, sizes.evaluated), sizes.block)
    return _FLOAT * examples * (features + transient) + trial.strategy.fixed_bytes(trial, sizes)


def bytes_per_trial(trial: Trial, dataset: Dataset, *, blocks: BlockSizes) -> int:
    """Return the bytes that a trial adds to its group while it is trained."""
    return trial.strategy.bytes_per_trial(trial, Sizes.of(trial, dataset, blocks=blocks))
