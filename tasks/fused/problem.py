"""A fused group's problem: its trials, its objective, and the examples behind every evaluation, block by block."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array
from tasks.arrays.devices import at_once, double, pieces, placed
from tasks.arrays.random_streams import normal, stream
from tasks.datasets.dataset import Dataset, Split
from tasks.fused.objective import Objective, split
from tasks.labels import accuracy
from tasks.models.model import Arrangement, Model, Part, ScoreLinear

if TYPE_CHECKING:
    from tasks.trial import Trial

# So many numbers, and the few arrays of their size that arithmetic on them makes, stay in a processor's cache.
_CACHED_NUMBERS = 2**17

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The examples behind one evaluation: those of a split at ``index`` ``(B,)``, None for all, read by blocks.

    Examples become floating point a block at a time: memory does not grow with N, on the host a block and its
    scores stay in cache, and blocks are what several threads share.
    """

    split: Split
    index: Any

    def __len__(self) -> int:
        return len(self.split) if self.index is None else int(self.index.shape[0])

    def blocks(self, size: int) -> list[Split]:
        """Return the examples in blocks of so many; a block of a whole split is a view of it."""
        return [self._block(part) for part in pieces(len(self), size)]

    def _block(self, part: slice) -> Split:
        images, labels = self.split.images, self.split.labels
        if self.index is None:
            return Split(images=images[part, ...], labels=labels[part])
        xp, index = array_namespace(images), self.index[part]
        return Split(images=xp.take(images, index, axis=0), labels=xp.take(labels, index, axis=0))


class Minibatches:
    """The order of the examples: a new permutation an epoch, cut into batches; what does not fill one is left out."""

    def __init__(self, split: Split, size: int | None, data_seed: int) -> None:
        self._split = split
        self._size = None if size is None or size == len(split) else size
        self._data_seed = data_seed
        self._epoch: tuple[int, Array] | None = None

    @property
    def batch_size(self) -> int:
        """The number of examples in every batch."""
        return len(self._split) if self._size is None else self._size

    def at(self, number: int) -> Batch:
        """Return batch ``number`` (from 0) of the stream; the full training set where there is no batch size."""
        if self._size is None:
            return Batch(split=self._split, index=None)
        epoch, place = divmod(number, len(self._split) // self._size)
        if self._epoch is None or self._epoch[0] != epoch:
            order = stream(self._data_seed, "data order", epoch).permutation(len(self._split))
            self._epoch = (epoch, placed(order, self._split.labels))  # a copy to a device waits: once an epoch
        return Batch(split=self._split, index=self._epoch[1][place * self._size : (place + 1) * self._size])


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What ``K`` fused trials compute with; ``like`` is an empty array of their library, precision and device.

    The data set lives where ``like`` does, once for all problems that are made of one another.
    """

    trials: tuple[Trial, ...]
    dataset: Dataset
    like: Array
    threads: int
    minibatches: Minibatches
    objective: Objective

    @classmethod
    def of(cls, trials: Sequence[Trial], dataset: Dataset, *, like: Array, threads: int) -> Problem:
        """Return the problem of trials that share a model, a batch size and the order of the data."""
        first, resident = trials[0], dataset.on(like)
        return cls(
            trials=tuple(trials),
            dataset=resident,
            like=like,
            threads=threads,
            minibatches=Minibatches(resident.train, first.batch_size, first.data_seed),
            objective=Objective.of(trials, like=like),
        )

    def of_trials(self, keep: Sequence[int]) -> Problem:
        """Return the problem of some of its trials: their bits stay, since they do not depend on the others."""
        trials = [self.trials[k] for k in keep]
        return Problem.of(trials, self.dataset, like=self.like, threads=self.threads)

    @property
    def model(self) -> Model:
        """The model of all trials."""
        return self.trials[0].model

    @functools.cached_property
    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """The shapes of the model's matrices of parameters, by their names."""
        return self.model.shapes(self.dataset.image_shape, len(self.dataset.classes))

    @functools.cached_property
    def size(self) -> int:
        """How many numbers a point has, P."""
        return sum(rows * columns for rows, columns in self.shapes.values())

    @property
    def block(self) -> int:
        """How many examples are worked on at once."""
        own = self.model.block(self.dataset.image_shape, len(self.dataset.classes))
        return own if own and is_numpy_array(self.like) else at_once(self.like).examples

    @property
    def seeds(self) -> list[int]:
        """The different seeds of the trials, in ascending order: trials of one seed share their draws."""
        return sorted({trial.seed for trial in self.trials})

    def array(self, values: Array) -> Array:
        """Return host values as an array of the problem's library, precision and device."""
        return placed(values, self.like, dtype=self.like.dtype)

    def batch(self, split: Split, index: np.ndarray | None = None) -> Batch:
        """Return the examples of a split of the problem's data set at host integers, None for all."""
        return Batch(split=split, index=None if index is None else placed(index, self.like))

    def features(self, images: Array) -> Array:
        """Return images ``(B, D)`` centred by the training mean and scaled, the bias's 1 appended: ``(B, D + 1)``."""
        shape, scale = (images.shape[0], images.shape[1] + 1), self.dataset.scale
        if is_numpy_array(images):
            features = np.empty(shape, dtype=self.like.dtype)
            for part in self.parts(*shape):
                centred = features[part, :-1]
                centred[...] = images[part]  # cast first: a subtraction that casts as it goes takes half as long again
                centred -= self.dataset.mean
                if scale is not None:
                    centred *= scale
            features[:, -1] = 1
            return features
        xp = array_namespace(images)
        centred = xp.astype(images, self.like.dtype) - xp.astype(self.dataset.mean, self.like.dtype, copy=False)
        if scale is not None:
            centred = centred * xp.astype(scale, self.like.dtype, copy=False)
        bias = xp.ones((shape[0], 1), dtype=self.like.dtype, device=getattr(self.like, "device", None))
        return xp.concat([centred, bias], axis=1)

    def draw(self, seed: int, name: str, *index: int, out: np.ndarray | None = None) -> np.ndarray:
        """Return the model's draw of a point from a random stream, float32 ``(P,)``: Gaussian, of its own spreads."""
        drawn = normal(seed, name, *index, shape=None if out is not None else (self.size,), out=out)
        if self._spread is not None:
            drawn *= self._spread
        return drawn

    @functools.cached_property
    def _spread(self) -> np.ndarray | None:
        """The spread of every number of a point, ``(P,)``, None where it is 1."""
        spreads = self.model.spreads(self.dataset.image_shape, len(self.dataset.classes))
        each = [np.broadcast_to(spreads[name], shape).ravel() for name, shape in self.shapes.items()]
        return None if all((spread == 1).all() for spread in each) else np.concatenate(each).astype(np.float32)

    def initial_weights(self, scales: Sequence[float]) -> Array:
        """Return a scale times the model's draw for every trial, ``(K, P)``: the same draw for trials of one seed."""
        draws = {seed: self.draw(seed, "initial weights") for seed in self.seeds}
        # In float32 as they are drawn: every precision starts from the same weights.
        scaled = [np.float32(scale) * draws[trial.seed] for trial, scale in zip(self.trials, scales, strict=True)]
        return self.array(np.stack(scaled))

    def matrices(self, points: Array) -> list[Array]:
        """Return the matrices ``(*K, R_i, D_i)`` of points ``(*K, P)``."""
        return split(points, list(self.shapes.values()))

    def named(self, point: np.ndarray) -> dict[str, np.ndarray]:
        """Return the parameters of a point ``(P,)`` by their names, ``(R_i, D_i)`` each."""
        return dict(zip(self.shapes, self.matrices(point), strict=True))

    def arrange(self, batch: Batch) -> Arrangement:
        """Return how the trials' points lie in memory for the products over a batch."""
        blocks = {block.stop - block.start for block in pieces(len(batch), self.block)}
        classes = len(self.dataset.classes)
        return self.model.arrange(len(self.trials), self.dataset.image_shape, classes, blocks, like=self.like)

    def scores_of(self, points: Array, batch: Batch) -> Callable[[Array], Array]:
        """Return what gives the scores ``(K, C, N)`` of points ``(K, P)`` on the features of a batch's blocks."""
        if isinstance(self.model, ScoreLinear):
            return functools.partial(self.model.scores_of_points, points)
        arrangement = self.arrange(batch)
        return functools.partial(arrangement.scores, arrangement.rows(points))

    def over_blocks(self, batch: Batch, compute: Callable[[Array, Array], Answer]) -> list[Answer]:
        """Return ``compute(features, labels)`` of every block of the batch, in their order."""

        def answer(block: Split) -> Answer:
            return compute(self.features(block.images), block.labels)

        return self.in_order(answer, batch.blocks(self.block))

    def in_order(self, compute: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
        """Return ``compute`` of every item, in their order: on the problem's threads, or one by one on a device."""
        return in_order(compute, items, threads=self._own_threads)

    @property
    def _own_threads(self) -> int:
        """How many threads blocks are spread over: a device has its own."""
        return self.threads if is_numpy_array(self.like) else 1

    def losses_and_accuracy(self, points: Array, batch: Batch) -> tuple[Array, Array]:
        """Return the mean data loss and the accuracy of every trial on the batch, float64 ``(K,)`` each."""
        xp, scores_of = array_namespace(points), self.scores_of(points, batch)

        def sums(features: Array, labels: Array) -> tuple[Array, Array]:
            scores = scores_of(features)
            losses = self.objective.losses_of_scores(scores, labels)
            return double(xp.sum(losses, axis=-1)), accuracy(scores, labels) * labels.shape[0]

        parts = self.over_blocks(batch, sums)
        losses, hits = (total(column) / len(batch) for column in zip(*parts, strict=True))
        return losses, hits

    def regularization_loss(self, points: Array) -> Array:
        """Return the regularization loss ``(K,)`` of points ``(K, P)``."""
        return self.objective.regularization_loss(self.matrices(points))

    def data_loss_and_gradient(
        self, arrangement: Arrangement, rows: Sequence[Array], batch: Batch, *, scale: Array = None, factor: Array = 1
    ) -> tuple[list[Array], Array, Array]:
        """Return ``factor`` times the gradient of the data loss on a batch, that loss and the accuracy ``(K,)``.

        All three are of the mean over the batch's examples. Gradient and weights, which are ``rows``, are matrices
        of the arrangement; ``scale`` is what their scores are multiplied by; scale and factor are one for all trials
        or ``(K, 1, 1)``.
        """
        factor = factor / len(batch)

        def sums(block: Split) -> list[Array]:
            features, labels = self.features(block.images), block.labels
            evaluation = self.objective.evaluate(arrangement, rows, features, labels, factor=factor, scale=scale)
            hits = accuracy(evaluation.scores, labels) * labels.shape[0]
            return [evaluation.losses, hits, *evaluation.gradient]

        # Added as they come: a network's blocks are small, and a gradient of each would be many.
        blocks = in_turn(sums, batch.blocks(self.block), threads=self._own_threads)
        losses, hits, *gradient = functools.reduce(lambda so_far, more: list(map(operator.add, so_far, more)), blocks)
        return gradient, losses / len(batch), hits / len(batch)

    def data_loss_and_parts(
        self, arrangement: Arrangement, rows: Sequence[Array], batch: Batch, *, scale: Array = None, factor: Array = 1
    ) -> tuple[Array, Array, Iterator[Part]]:
        """Return the data loss and the accuracy ``(K,)``, and the gradient in parts; see `data_loss_and_gradient`.

        Of a batch that is one block, a part is computed when it is asked for, and the rows of those before may be
        updated by then: they are still in cache.
        """
        if len(batch) > self.block:
            gradient, loss, hits = self.data_loss_and_gradient(arrangement, rows, batch, scale=scale, factor=factor)
            whole = (Part(number, slice(0, matrix.shape[0]), matrix) for number, matrix in enumerate(gradient))
            return loss, hits, whole
        (block,) = batch.blocks(self.block)
        scores, parts = arrangement.scores_and_parts(rows, self.features(block.images))
        scores = scores if scale is None else scale * scores
        losses, slope = self.objective.losses_and_slope(scores, block.labels)
        return losses / len(batch), accuracy(scores, block.labels), parts(slope * (factor / len(batch)))

    def loss_and_gradient(self, points: Array, batch: Batch) -> tuple[Array, Array, Array, Array]:
        """Return the gradient ``(K, P)``, data loss, regularization loss and accuracy ``(K,)`` at points ``(K, P)``."""
        arrangement = self.arrange(batch)
        gradient, losses, hits = self.data_loss_and_gradient(arrangement, arrangement.rows(points), batch)
        whole = arrangement.points(gradient) + self.objective.regularization_gradient(points)
        return whole, losses, self.regularization_loss(points), hits

    def parts(self, count: int, numbers: int) -> list[slice]:
        """Return ``count`` items of ``numbers`` each in parts that stay in a processor's cache; on a device, all.

        What arithmetic reads and writes many times would, through memory, take longer than the products.
        """
        return pieces(count, max(1, _CACHED_NUMBERS // numbers) if is_numpy_array(self.like) else count)


def total(parts: Sequence[Array]) -> Array:
    """Return the sum of the blocks' parts, added in their order."""
    return sum(parts[1:], start=parts[0])


def in_order(compute: Callable[[Item], Answer], items: Iterable[Item], *, threads: int) -> list[Answer]:
    """Return ``compute`` of every item, in their order, on several threads: the same bits on any number of them."""
    return list(in_turn(compute, items, threads=threads))


def in_turn(compute: Callable[[Item], Answer], items: Iterable[Item], *, threads: int) -> Iterator[Answer]:
    """Yield ``compute`` of every item, in their order, on several threads."""
    todo = list(items)
    if threads == 1 or len(todo) == 1:
        yield from map(compute, todo)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(compute, todo)
