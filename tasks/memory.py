"""An estimate of a group's memory, and of how many trials fit in a device's.

The factors count the arrays that are alive at the worst moment of a step; of arrays that are never alive together, the
larger ones count. The estimate should be an upper bound. A group that takes more, and does not fit, is halved where it
is computed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.arrays.devices import DEVICE_BLOCKS, BlockSizes
from tasks.arrays.products import most_aligned
from tasks.arrays.stacking import by_value
from tasks.datasets.dataset import Dataset
from tasks.fused.update_rules import empty_state
from tasks.models.model import ScoreLinear
from tasks.trial import Trial, uses_model

# The share of the free memory that is used: a library's allocator fragments.
_SHARE = 0.8

_FLOAT = np.dtype(np.float32).itemsize

# The arrays that a device makes a block of features from, and the features: cast, centred, scaled, with the bias.
_FEATURES_ON_DEVICE = 4

# The bytes of an example in the order of an epoch: int64, those of the epoch before and of the next at its start.
_ORDER = 2 * np.dtype(np.int64).itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What the memory of a trial depends on.

    Bytes of a trial, in float32: its parameters (``weights``), and one number for each row of its matrices (``rows``).
    Bytes of an example, in float32: its ``scores``, the activations that a step keeps (``stored``), those that live
    only within a layer (``transient``), and its ``features``. ``images`` are its bytes as stored.

    Numbers of examples: ``train`` in the training set, ``examples_a_step`` in a step. Of a step ``seen`` are computed
    at once, of the largest evaluation ``evaluated``, a ``block`` on each of ``threads``.

    The ``states`` of a descent are its arrays of the size of the weights: these, and those of all update rules in the
    group.

    A search draws ``candidates`` at once for each of the group's ``seeds``, in whole panels of at most ``aligned``; a
    local search keeps at most ``score_bytes`` of their scores. ``in_score_space`` says that a search is in score space,
    ``on_device`` that a device computes at once what the host computes in parts that stay in cache.
    """

    weights: int
    rows: int
    scores: int
    stored: int
    transient: int
    features: int
    images: int
    train: int
    examples_a_step: int
    seen: int
    evaluated: int
    block: int
    threads: int
    states: int
    candidates: int
    aligned: int
    seeds: int
    score_bytes: int
    in_score_space: bool
    on_device: bool

    @property
    def layers(self) -> int:
        """The bytes of the activations of an example and a trial."""
        return self.stored + (self.transient if self.on_device else 0)

    @property
    def shared(self) -> int:
        """The bytes of an example that trials share: its features and, on the host, the activations within a layer."""
        return self.features + (0 if self.on_device else self.transient)

    @property
    def gradients(self) -> int:
        """How many gradients of a trial are alive: those of the blocks at once, their sum, and the last one added."""
        return min(-(-self.examples_a_step // self.block), 2 + self.threads)

    @property
    def of_evaluation(self) -> int:
        """The bytes of scores and activations of an evaluation: it has a forward pass only."""
        return (5 * self.scores + self.layers // 2) * self.evaluated

    @property
    def of_examples(self) -> int:
        """The bytes of scores, activations and gradients of the examples at once, in a step or an evaluation."""
        return max((6 * self.scores + self.layers) * self.seen, self.of_evaluation)

    @classmethod
    def of(cls, trials: Sequence[Trial], dataset: Dataset, *, blocks: BlockSizes, threads: int = 1) -> Sizes:
        """Return the sizes of each of a group's trials on a dataset, on a device with these block sizes."""
        trial = trials[0]
        model, given, on_device = trial.model, (dataset.image_shape, len(dataset.classes)), blocks is DEVICE_BLOCKS
        threads = 1 if on_device else threads
        block = blocks.examples if on_device else model.block(*given) or blocks.examples
        shapes = list(model.shapes(*given).values())
        inputs, train = math.prod(dataset.image_shape) + 1, len(dataset.train)
        step = trial.batch_size or train
        in_score_space = isinstance(model, ScoreLinear) and step == train
        return cls(
            weights=_FLOAT * sum(map(math.prod, shapes)),
            rows=_FLOAT * sum(rows for rows, _ in shapes),
            scores=_FLOAT * len(dataset.classes),
            stored=_FLOAT * model.stored_activations(*given),
            transient=_FLOAT * model.transient_activations(*given),
            features=_FLOAT * inputs * (_FEATURES_ON_DEVICE if on_device else 1),
            images=math.prod(dataset.image_shape) * dataset.train.images.dtype.itemsize,
            train=train,
            examples_a_step=step,
            seen=min(step, block * threads),
            evaluated=min(max(len(dataset.validation), len(dataset.test)), block * threads),
            block=block,
            threads=threads,
            states=1 + len({name for trial in trials for name in empty_state(trial.optimizer)}),
            # In a search that is not in score space, the host draws and evaluates one candidate at a time.
            candidates=blocks.candidates if on_device or in_score_space else 1,
            aligned=1 if on_device else most_aligned(len(dataset.classes), train % block or block, inputs),
            seeds=len({trial.seed for trial in trials}),
            score_bytes=blocks.score_bytes,
            in_score_space=in_score_space,
            on_device=on_device,
        )


def widest_group(trials: Sequence[Trial], dataset: Dataset, *, available: int, blocks: BlockSizes, threads: int) -> int:
    """Return how many of these trials, which can be fused, fit in a group with ``available`` bytes, at least 1."""
    if not uses_model(trials[0]):
        return 1
    splits = (dataset.train, dataset.validation, dataset.test)
    taken = sum(split.images.nbytes + split.labels.nbytes for split in splits)
    sizes = Sizes.of(trials, dataset, blocks=blocks, threads=threads)
    fixed, with_seed = (_fixed_bytes(trials, dataclasses.replace(sizes, seeds=seeds)) for seeds in (0, 1))
    own, of_seed = _bytes_per_trial(trials, sizes), with_seed - fixed
    left: int = int(_SHARE * available) - taken - fixed
    # Two lower bounds: each trial brings a seed of its own, or the group holds all seeds.
    return max(1, left // (own + of_seed), (left - sizes.seeds * of_seed) // own)


def bytes_of_group(trials: Sequence[Trial], dataset: Dataset, *, blocks: BlockSizes, threads: int = 1) -> int:
    """Return the bytes, without the data set's, that fused trials take while they are trained.

    The bytes of a task that does not train, or has a model of its own, are unknown: 0.
    """
    first = trials[0]
    if not (uses_model(first) and first.task.trains):
        return 0
    sizes = Sizes.of(trials, dataset, blocks=blocks, threads=threads)
    return _fixed_bytes(trials, sizes) + len(trials) * _bytes_per_trial(trials, sizes)


def _bytes_per_trial(trials: Sequence[Trial], sizes: Sizes) -> int:
    """Return the bytes that a trial adds, the most of any strategy in the group."""
    return max(trial.strategy.bytes_per_trial(trial, sizes) for trial in _of_strategies(trials))


def _fixed_bytes(trials: Sequence[Trial], sizes: Sizes) -> int:
    """Return the bytes of a group whatever the number of its trials: of the examples, and the most of any strategy."""
    examples = max(sizes.seen, sizes.evaluated) * sizes.shared
    # The images of a minibatch are copied, all at once.
    copied = sizes.examples_a_step * sizes.images + _ORDER * sizes.train
    of_strategy = max(trial.strategy.fixed_bytes(trial, sizes) for trial in _of_strategies(trials))
    return examples + copied * (sizes.examples_a_step < sizes.train) + of_strategy


def _of_strategies(trials: Sequence[Trial]) -> list[Trial]:
    """Return a trial of each strategy in a group: they may differ in a field, as the histories of L-BFGS."""
    return [trials[run.start] for run, _ in by_value([trial.strategy for trial in trials])]
