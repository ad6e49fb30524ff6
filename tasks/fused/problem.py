"""A fused group's problem: its trials, its objective, its draws, and every evaluation, block by block."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array
from tasks.arrays.devices import block_sizes, device_put, double, pieces
from tasks.arrays.random_streams import normal
from tasks.datasets.dataset import Dataset, Split
from tasks.fused.batches import Batch, Minibatches
from tasks.fused.objective import Objective
from tasks.fused.parallel import Item, Mapped, parallel_imap, parallel_map, total
from tasks.labels import accuracy
from tasks.models.model import Arrangement, GradientPart, Model, ScoreLinear, as_matrices

if TYPE_CHECKING:
    from tasks.trial import Trial

# An array of so many numbers, and the few temporaries of arithmetic on it, stay in a processor's cache.
_CACHED_NUMBERS = 2**17

CACHED_BYTES = _CACHED_NUMBERS * np.dtype(np.float32).itemsize
"""The bytes of an array of one of `Problem.cache_sized_slices`, on the host."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What ``K`` fused trials compute with; ``like`` is an empty array of their library, precision and device.

    The data set is on the device of ``like``, one copy for all problems derived from each other.
    """

    trials: tuple[Trial, ...]
    dataset: Dataset
    like: Array
    threads: int
    minibatches: Minibatches
    objective: Objective

    @classmethod
    def of(cls, trials: Sequence[Trial], dataset: Dataset, *, like: Array, threads: int) -> Problem:
        """Return the problem of trials with one model, batch size and order of the data."""
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
        """Return the problem of some of its trials, or of several copies of one: their bits stay the same."""
        trials = [self.trials[k] for k in keep]
        return Problem.of(trials, self.dataset, like=self.like, threads=self.threads)

    @property
    def model(self) -> Model:
        """The model of all trials."""
        return self.trials[0].model

    @functools.cached_property
    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """The shapes of the model's parameter matrices, by name."""
        return self.model.shapes(self.dataset.image_shape, len(self.dataset.classes))

    @functools.cached_property
    def size(self) -> int:
        """The number of parameters, P."""
        return sum(rows * columns for rows, columns in self.shapes.values())

    @property
    def block(self) -> int:
        """The block size, in examples."""
        own = self.model.block(self.dataset.image_shape, len(self.dataset.classes))
        return own if own and is_numpy_array(self.like) else block_sizes(self.like).examples

    @property
    def seeds(self) -> list[int]:
        """The distinct seeds of the trials, ascending: trials of one seed share their draws."""
        return sorted({trial.seed for trial in self.trials})

    def learning_rates(self, steps: range) -> np.ndarray:
        """Return each trial's learning rate times its schedule's factor at some steps (from 1), ``(S, K)``."""
        return np.array([[t.learning_rate * t.schedule.factor(step, t.steps) for t in self.trials] for step in steps])

    def array(self, values: Array) -> Array:
        """Return host values as an array of the problem's library, precision and device."""
        return device_put(values, self.like, dtype=self.like.dtype)

    def batch(self, split: Split, index: np.ndarray | None = None) -> Batch:
        """Return the examples of a split of the problem's data set at ``index``, None for all."""
        return Batch(split=split, index=None if index is None else device_put(index, self.like))

    def features(self, images: Array) -> Array:
        """Return images ``(B, D)`` centred by the training mean and scaled, the bias's 1 appended: ``(B, D + 1)``."""
        shape, scale = (images.shape[0], images.shape[1] + 1), self.dataset.scale
        if is_numpy_array(images):
            features = np.empty(shape, dtype=self.like.dtype)
            for part in self.cache_sized_slices(*shape):
                centred = features[part, :-1]
                centred[...] = images[part]  # cast first: a subtraction that also casts is 1.5 times as slow
                centred -= self.dataset.mean
                if scale is not None:
                    centred *= scale
            features[:, -1] = 1
            return features
        xp = array_namespace(images)
        centred = xp.astype(images, self.like.dtype) - xp.astype(self.dataset.mean, self.like.dtype, copy=False)
        if scale is not None:
            centred = centred * xp.astype(scale, self.like.dtype, copy=False)
        bias = xp.ones((shape[0], 1), dtype=self.like.dtype, device=self.like.device)
        return xp.concat([centred, bias], axis=1)

    def draw(self, seed: int, name: str, *index: int, out: np.ndarray | None = None) -> np.ndarray:
        """Return a Gaussian point with the model's spreads from a random stream, float32 ``(P,)``."""
        drawn = normal(seed, name, *index, shape=None if out is not None else (self.size,), out=out)
        if self._spread is not None:
            drawn *= self._spread
        return drawn

    @functools.cached_property
    def _spread(self) -> np.ndarray | None:
        """The spread of every parameter, ``(P,)``, None where all are 1."""
        spreads = self.model.spreads(self.dataset.image_shape, len(self.dataset.classes))
        each = [np.broadcast_to(spreads[name], shape).ravel() for name, shape in self.shapes.items()]
        return None if all((spread == 1).all() for spread in each) else np.concatenate(each).astype(np.float32)

    @functools.cached_property
    def natural_scale(self) -> float:
        """The factor on a draw that gives scores of about 1 (root mean square), whatever the data.

        It is 1 for a network. For a linear model it is one over the root mean square length of a centred training image
        with its bias. On CIFAR-10 it is about 3e-4, the spread of the notes' ``np.random.rand(10, 3073) * 0.001``.
        """
        if not isinstance(self.model, ScoreLinear):
            return 1.0
        xp, batch = array_namespace(self.like), self.batch(self.dataset.train)
        squares = self.over_blocks(batch, lambda features, _: xp.sum(features * features, dtype=xp.float64))
        return float((total(squares) / len(batch)) ** -0.5)

    def initial_weights(self, scales: Sequence[float]) -> Array:
        """Return each trial's scale times its draw, ``(K, P)``: trials of one seed have the same draw."""
        draws = {seed: self.draw(seed, "initial weights") for seed in self.seeds}
        # Scaled in float32, as they are drawn: every precision starts from the same weights.
        scaled = [np.float32(scale) * draws[trial.seed] for trial, scale in zip(self.trials, scales, strict=True)]
        return self.array(np.stack(scaled))

    def matrices(self, points: Array) -> list[Array]:
        """Return the matrices ``(*K, R_i, D_i)`` of points ``(*K, P)``."""
        return as_matrices(points, list(self.shapes.values()))

    def named(self, point: np.ndarray) -> dict[str, np.ndarray]:
        """Return the parameter matrices ``(R_i, D_i)`` of a point ``(P,)`` by name."""
        return dict(zip(self.shapes, self.matrices(point), strict=True))

    def arrange(self, batch: Batch) -> Arrangement:
        """Return the arrangement of the trials' points for a batch."""
        blocks = {block.stop - block.start for block in pieces(len(batch), self.block)}
        classes = len(self.dataset.classes)
        return self.model.arrange(len(self.trials), self.dataset.image_shape, classes, blocks, like=self.like)

    def scores_of(self, points: Array, batch: Batch) -> Callable[[Array], Array]:
        """Return the function from the features of a batch's block to the scores ``(K, C, N)`` of points ``(K, P)``."""
        if isinstance(self.model, ScoreLinear):
            return functools.partial(self.model.scores_of_points, points)
        arrangement = self.arrange(batch)
        return functools.partial(arrangement.scores, arrangement.rows(points))

    def over_blocks(self, batch: Batch, compute: Callable[[Array, Array], Mapped]) -> list[Mapped]:
        """Return ``compute(features, labels)`` of every block of the batch, in order."""

        def answer(block: Split) -> Mapped:
            return compute(self.features(block.images), block.labels)

        return self.parallel_map(answer, batch.blocks(self.block))

    def parallel_map(self, compute: Callable[[Item], Mapped], items: Iterable[Item]) -> list[Mapped]:
        """Return ``compute`` of every item, in order: on the problem's threads, or one by one on a device."""
        return parallel_map(compute, items, threads=self._block_threads)

    @property
    def _block_threads(self) -> int:
        """How many threads share the blocks: one on a device, which has its own parallelism."""
        return self.threads if is_numpy_array(self.like) else 1

    def losses_and_accuracy(self, points: Array, batch: Batch) -> tuple[Array, Array]:
        """Return the mean data loss and the accuracy of every trial on the batch, float64 ``(K,)`` each."""
        xp, scores_of = array_namespace(points), self.scores_of(points, batch)

        def sums(features: Array, labels: Array) -> tuple[Array, Array]:
            scores = scores_of(features)
            losses = self.objective.losses_of_scores(scores, labels)
            return double(xp.sum(losses, axis=-1)), accuracy(scores, labels) * labels.shape[0]

        parts = self.over_blocks(batch, sums)
        losses, hits = (total(column) for column in zip(*parts, strict=True))
        return losses / len(batch), hits / len(batch)

    def regularization_loss(self, points: Array) -> Array:
        """Return the regularization loss ``(K,)`` of points ``(K, P)``."""
        return self.objective.regularization_loss(self.matrices(points))

    def data_loss_and_gradient(
        self, arrangement: Arrangement, rows: Sequence[Array], batch: Batch, *, scale: Array = None, factor: Array = 1
    ) -> tuple[list[Array], Array, Array]:
        """Return ``factor`` times the gradient of the data loss on a batch, the data loss and the accuracy ``(K,)``.

        All are means over the batch's examples. The gradient and the weights ``rows`` are matrices of the arrangement.
        The scores are ``scale`` (None: 1) times those of ``rows``. Scale and factor are scalars or ``(K, 1, 1)``.
        """
        factor = factor / len(batch)

        def sums(block: Split) -> list[Array]:
            scores, vjp = arrangement.scores_and_vjp(rows, self.features(block.images))
            scores = scores if scale is None else scale * scores
            losses, slope = self.objective.losses_and_slope(scores, block.labels)
            return [losses, accuracy(scores, block.labels) * len(block), *vjp(slope * factor)]

        # Summed as they are computed, in place: a network has many small blocks, and a gradient of each would take much
        # memory.
        blocks = parallel_imap(sums, batch.blocks(self.block), threads=self._block_threads)
        losses, hits, *gradient = functools.reduce(lambda whole, block: list(map(operator.iadd, whole, block)), blocks)
        return gradient, losses / len(batch), hits / len(batch)

    def data_loss_and_parts(
        self, arrangement: Arrangement, rows: Sequence[Array], batch: Batch, *, scale: Array = None, factor: Array = 1
    ) -> tuple[Array, Array, Iterator[GradientPart]]:
        """Return the data loss and the accuracy ``(K,)``, and the gradient in parts; see `data_loss_and_gradient`.

        If the batch is one block, each part is computed when it is asked for: the rows of the parts before may be
        updated by then, while they are in cache.
        """
        if len(batch) > self.block:
            gradient, loss, correct = self.data_loss_and_gradient(arrangement, rows, batch, scale=scale, factor=factor)
            whole = (GradientPart(number, slice(0, matrix.shape[0]), matrix) for number, matrix in enumerate(gradient))
            return loss, correct, whole
        (block,) = batch.blocks(self.block)
        scores, parts = arrangement.scores_and_parts(rows, self.features(block.images))
        scores = scores if scale is None else scale * scores
        losses, slope = self.objective.losses_and_slope(scores, block.labels)
        return losses / len(batch), accuracy(scores, block.labels), parts(slope * (factor / len(batch)))

    def loss_and_gradient(self, points: Array, batch: Batch) -> tuple[Array, Array, Array, Array]:
        """Return the gradient ``(K, P)``, data loss, regularization loss and accuracy ``(K,)`` at points ``(K, P)``."""
        arrangement = self.arrange(batch)
        data_gradient, data_loss, correct = self.data_loss_and_gradient(arrangement, arrangement.rows(points), batch)
        gradient = arrangement.points(data_gradient)
        for matrix, weights in zip(self.matrices(gradient), self.matrices(points), strict=True):
            # Added matrix by matrix, in place: the penalty's gradient as a point would be one more copy of all weights.
            matrix[...] += self.objective.regularization_gradient(weights)
        return gradient, data_loss, self.regularization_loss(points), correct

    def cache_sized_slices(self, count: int, numbers: int) -> list[slice]:
        """Return slices of ``count`` items, of ``numbers`` numbers each, that fit in cache; on a device, one slice.

        Arithmetic that passes over an array many times would, out of cache, take longer than the products.
        """
        return pieces(count, max(1, _CACHED_NUMBERS // numbers) if is_numpy_array(self.like) else count)
