"""How many trials of a group fit in a device's memory: a small model of what a step holds, measured once.

The copies were counted on NumPy with every loss, optimiser and regularizer (they differ by the optimiser's state
only). A model that errs costs little: a group that does not fit is halved where it is computed.
"""

from __future__ import annotations

import math

import numpy as np

from tasks.datasets.dataset import Dataset
from tasks.devices import AtOnce
from tasks.optimizers import Sgd
from tasks.strategies import GradientDescent, LocalSearch
from tasks.trial import Trial

# Of the memory that is free: the library keeps freed pieces that it cannot join.
_SHARE = 0.8

_FLOAT = np.dtype(np.float32).itemsize


def widest_group(trial: Trial, dataset: Dataset, *, available: int, most: AtOnce) -> int:
    """Return how many trials like this one a group may have, at least 1, in so many bytes of memory.

    ``most`` is what the device works on at once.
    """
    beside = sum(
        split.images.size + split.labels.size * 8 for split in (dataset.train, dataset.validation, dataset.test)
    )
    block = min(len(dataset.train), most.examples)
    beside += 4 * _FLOAT * block * (dataset.mean.size + 1)  # a block of features, and what it is made from
    if trial.batch_size is None and not isinstance(trial.strategy, GradientDescent):
        beside += most.candidates * _bytes_a_candidate(trial, dataset, block)
    return max(1, int((_SHARE * available - beside) // bytes_a_trial(trial, dataset, most=most)))


def bytes_a_trial(trial: Trial, dataset: Dataset, *, most: AtOnce) -> int:
    """Return the bytes that a trial adds to its group while it is trained."""
    evaluated = min(max(len(dataset.validation), len(dataset.test)), most.examples)
    seen = min(trial.batch_size or len(dataset.train), most.examples)
    weights, scores = _weights(trial, dataset), _FLOAT * len(dataset.classes)
    if isinstance(trial.strategy, GradientDescent):
        # Plain descent keeps its weights unscaled as well.
        states = 1 if isinstance(trial.optimizer, Sgd) else len(trial.optimizer.init(np.empty(0)))
        blocks = -(-(trial.batch_size or len(dataset.train)) // most.examples)  # each has a gradient of its own
        return (3 + blocks + 2 * states) * weights + scores * max(6 * seen, 5 * evaluated)
    kept = 5 * scores * len(dataset.train) if _walks_in_score_space(trial) else 0
    return 5 * weights + kept + 5 * scores * max(seen, evaluated)


def _bytes_a_candidate(trial: Trial, dataset: Dataset, block: int) -> int:
    # The scores on all examples are joined from those of blocks; draws and candidates of several blocks are kept.
    examples = 2 * len(dataset.train) if _walks_in_score_space(trial) else 5 * block
    return 8 * _weights(trial, dataset) + _FLOAT * len(dataset.classes) * examples


def _walks_in_score_space(trial: Trial) -> bool:
    return isinstance(trial.strategy, LocalSearch) and trial.batch_size is None


def _weights(trial: Trial, dataset: Dataset) -> int:
    return _FLOAT * math.prod(trial.model.shape(dataset.mean.size + 1, len(dataset.classes)))
