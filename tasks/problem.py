"""A fused group's problem: its trials, its objective, and the examples behind every evaluation, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from array_api_compat import array_namespace

from tasks.datasets.dataset import Dataset, Split
from tasks.losses import accuracy
from tasks.objective import Objective
from tasks.random_streams import normal, stream

if TYPE_CHECKING:
    from tasks.trial import Trial

# Examples become floating point a block at a time: memory does not grow with N, a block and its scores stay
# in cache, and blocks are what several threads share. The size decides bits, so it is no option.
BLOCK = 2048

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The examples behind one evaluation: ``images`` uint8 ``(B, D)`` and ``labels`` ``(B,)``, read by blocks."""

    split: Split
    index: np.ndarray | None

    def __len__(self) -> int:
        return len(self.split) if self.index is None else len(self.index)

    def blocks(self) -> list[Split]:
        """Return the examples in blocks of at most `BLOCK`; a block of a whole split is a view of it."""
        starts = range(0, len(self), BLOCK)
        chosen = [slice(i, i + BLOCK) if self.index is None else self.index[i : i + BLOCK] for i in starts]
        return [Split(images=self.split.images[part], labels=self.split.labels[part]) for part in chosen]


class Minibatches:
    """The order of the examples: a new permutation an epoch, cut into batches; what does not fill one is left out."""

    def __init__(self, split: Split, size: int | None, data_seed: int) -> None:
        self._split = split
        self._size = None if size is None or size == len(split) else size
        self._data_seed = data_seed
        self._epoch: tuple[int, np.ndarray] | None = None

    def at(self, number: int) -> Batch:
        """Return batch ``number`` (from 0) of the stream; the full training set where there is no batch size."""
        if self._size is None:
            return Batch(split=self._split, index=None)
        epoch, place = divmod(number, len(self._split) // self._size)
        if self._epoch is None or self._epoch[0] != epoch:
            order = stream(self._data_seed, "data order", epoch).permutation(len(self._split))
            self._epoch = (epoch, order)
        return Batch(split=self._split, index=self._epoch[1][place * self._size : (place + 1) * self._size])


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What ``K`` fused trials compute with; ``like`` is an empty array of their library, precision and device."""

    trials: tuple[Trial, ...]
    dataset: Dataset
    like: Any
    width: int
    threads: int
    minibatches: Minibatches
    objective: Objective

    @classmethod
    def of(cls, trials: Sequence[Trial], dataset: Dataset, *, like: Any, width: int, threads: int) -> Problem:
        """Return the problem of trials that share a model, a batch size and the order of the data."""
        first = trials[0]
        return cls(
            trials=tuple(trials),
            dataset=dataset,
            like=like,
            width=width,
            threads=threads,
            minibatches=Minibatches(dataset.train, first.batch_size, first.data_seed),
            objective=Objective.of(trials, like=like, width=width),
        )

    def of_trials(self, keep: Sequence[int]) -> Problem:
        """Return the problem of some of its trials: their bits stay, since they do not depend on the others."""
        trials = [self.trials[k] for k in keep]
        return Problem.of(trials, self.dataset, like=self.like, width=self.width, threads=self.threads)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of one trial's weights, ``(C, D)``."""
        return self.trials[0].model.shape(len(self.dataset.mean) + 1, len(self.dataset.classes))

    def array(self, values: Any) -> Any:
        """Return host values as an array of the problem's library, precision and device."""
        xp = array_namespace(self.like)
        return xp.asarray(values, dtype=self.like.dtype, device=getattr(self.like, "device", None))

    def features(self, images: np.ndarray) -> Any:
        """Return images uint8 ``(B, D)`` centred by the training mean, the bias's 1 appended: ``(B, D + 1)``."""
        features = np.empty((images.shape[0], images.shape[1] + 1), dtype=_dtype_name(self.like))
        features[:, :-1] = images  # cast first: a subtraction that casts as it goes takes half as long again
        features[:, :-1] -= self.dataset.mean
        features[:, -1] = 1
        return self.array(features)

    def initial_weights(self, scales: Sequence[float]) -> Any:
        """Return ``scale * N(0, 1)`` for every trial, ``(K, C, D)``: the same draw for trials of one seed."""
        draws = [
            np.float32(scale) * normal(trial.seed, "initial weights", shape=self.shape)
            for trial, scale in zip(self.trials, scales, strict=True)
        ]
        return self.array(np.stack(draws))

    def over_blocks(self, batch: Batch, compute: Callable[[Any, Any], Answer]) -> list[Answer]:
        """Return ``compute(features, labels)`` of every block of the batch, in their order."""

        def answer(block: Split) -> Answer:
            return compute(self.features(block.images), block.labels)

        return in_order(answer, batch.blocks(), threads=self.threads)

    def losses_and_accuracy(self, weights: Any, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean data loss and the accuracy of every trial on the batch, float64 ``(K,)`` each."""

        def sums(features: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
            scores = self.objective.scores(weights, features)
            losses = self.objective.losses_of_scores(scores, labels)
            return host(losses.sum(axis=-1)), host(accuracy(scores, labels)) * len(labels)

        parts = self.over_blocks(batch, sums)
        losses, hits = (total(column) / len(batch) for column in zip(*parts, strict=True))
        return losses, hits

    def loss_and_gradient(self, weights: Any, step: int) -> tuple[Any, Any, Any, Any]:
        """Return the gradient ``(K, C, D)``, data loss, regularization loss and accuracy ``(K,)`` at ``step``."""
        batch = self.minibatches.at(step - 1)

        def sums(features: Any, labels: Any) -> tuple[Any, Any, Any]:
            losses, gradient, scores = self.objective.evaluate(weights, features, labels)
            return losses, gradient, accuracy(scores, labels) * len(labels)

        parts = self.over_blocks(batch, sums)
        losses, gradient, hits = (total(column) / len(batch) for column in zip(*parts, strict=True))
        gradient = gradient + self.objective.regularization_gradient(weights)
        return gradient, losses, self.objective.regularization_loss(weights), hits


def host(array: Any) -> np.ndarray:
    """Return an array as float64 in the memory of the host."""
    return np.asarray(array, dtype=np.float64)


def total(parts: Sequence[Any]) -> Any:
    """Return the sum of the blocks' parts, added in their order."""
    return sum(parts[1:], start=parts[0])


def in_order(compute: Callable[[Item], Answer], items: Iterable[Item], *, threads: int) -> list[Answer]:
    """Return ``compute`` of every item, in their order, on several threads: the same bits on any number of them."""
    todo = list(items)
    if threads == 1 or len(todo) == 1:
        return [compute(item) for item in todo]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(compute, todo))


def _dtype_name(like: Any) -> str:
    return str(like.dtype).rsplit(".", maxsplit=1)[-1]
