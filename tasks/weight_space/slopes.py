"""The plain numerical gradient of any model: the slopes ahead and behind by some coordinates, and their kinks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from tasks.arrays.array import Array
from tasks.arrays.devices import pieces
from tasks.fused.batches import Batch
from tasks.fused.problem import Problem
from tasks.weight_space.points import example_losses, points_at_once

MOVES = (1.0, -1.0, 0.5, -0.5)
"""By how many steps a coordinate is moved: a whole step ahead and behind for the slopes, half steps to detect kinks."""

# The rounding of a difference of two losses, relative to the larger.
ROUNDING = 16 * np.finfo(np.float64).eps

# An even part of a loss through layers above this, relative to the loss, is a kink and not rounding.
_KINK_THRESHOLD = 8 * ROUNDING


class Slopes(NamedTuple):
    """Slopes ahead and behind by some coordinates, and the number of kinks within a step, all of one shape."""

    ahead: np.ndarray
    behind: np.ndarray
    kinks: np.ndarray

    @property
    def centred(self) -> np.ndarray:
        """The centred differences: the mean of both slopes."""
        return np.asarray((self.ahead + self.behind) / 2)

    @classmethod
    def joined(cls, parts: Iterable[Slopes]) -> Slopes:
        """Return the slopes of all parts, concatenated."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def by_weights(problem: Problem, point: np.ndarray, batch: Batch, coordinates: np.ndarray, *, h: float) -> Slopes:
    """Return the slopes ``(M,)`` of the objective on a batch at a point ``(P,)``, by ``M`` of its coordinates.

    Every move of a coordinate is a point, at which the loss of every example is evaluated. The problem is on the host.
    """
    alone = dataclasses.replace(problem, threads=1)  # the threads share the points instead
    losses, penalty, largest = example_losses(alone, point[None, :], batch)
    threshold, penalty_threshold = _KINK_THRESHOLD * _magnitudes(losses, largest), _KINK_THRESHOLD * (1 + penalty)

    def slopes(some: np.ndarray) -> Slopes:
        moved = with_moves(point, some, h)
        moved_losses, moved_penalty, _ = example_losses(alone, moved, batch)
        changes = (moved_losses - losses).reshape(len(MOVES), len(some), -1)  # (4, M, N)
        penalty_changes = (moved_penalty - penalty).reshape(len(MOVES), -1)
        whole = changes.mean(axis=-1) + penalty_changes
        kinks = has_kink(changes, threshold=threshold).sum(axis=-1)
        kinks += has_kink(penalty_changes, threshold=penalty_threshold)
        return Slopes(whole[0] / h, -whole[1] / h, kinks)

    size = max(1, points_at_once(problem, batch) // len(MOVES))
    return Slopes.joined(problem.parallel_map(slopes, [coordinates[part] for part in pieces(len(coordinates), size)]))


def by_data(problem: Problem, point: np.ndarray, batch: Batch, pixels: np.ndarray, *, h: float) -> Slopes:
    """Return the slopes ``(N, M)`` of each example's loss at a point ``(P,)``, by its own ``pixels`` ``(N, M)``."""
    arrangement, loss = problem.arrange(batch), problem.trials[0].loss
    rows = arrangement.rows(point[None, :])

    def of_example(example: np.ndarray, label: int, chosen: np.ndarray) -> np.ndarray:
        """Return the changes of an example's loss by `MOVES`, and whether they show a kink, ``(5, M)``."""
        features = np.concatenate([example[None, :], with_moves(example, chosen, h)])
        parts = [arrangement.scores(rows, features[part])[0] for part in pieces(len(features), problem.block)]
        scores = np.concatenate(parts, axis=-1)
        losses = loss.losses(scores, np.full(len(features), label))
        changes = (losses[1:] - losses[0]).reshape(len(MOVES), -1)
        threshold = _KINK_THRESHOLD * _magnitudes(losses[0], np.abs(scores[:, 0]).max())
        return np.concatenate([changes, has_kink(changes, threshold=threshold)[None, :]])

    def of_block(numbered: tuple[int, Array]) -> Slopes:
        number, block = numbered
        features, own = problem.features(block.images), pixels[number * problem.block :]
        each = [of_example(x, int(y), p) for x, y, p in zip(features, block.labels, own, strict=False)]
        changes = np.stack(each, axis=1)
        return Slopes(changes[0] / h, -changes[1] / h, changes[-1].astype(np.int64))

    return Slopes.joined(problem.parallel_map(of_block, enumerate(batch.blocks(problem.block))))


def resolution(problem: Problem, point: np.ndarray, batch: Batch, *, h: float) -> np.ndarray:
    """Return the error ``(N,)`` that rounding, or a kink below the threshold, may cause in each example's slope."""
    (losses,), _, (largest,) = example_losses(problem, point[None, :], batch)
    return np.asarray(_KINK_THRESHOLD * _magnitudes(losses, largest) / h)


def has_kink(changes: np.ndarray, *, threshold: float | np.ndarray) -> np.ndarray:
    """Return where changes by `MOVES`, ``(4, ...)``, show a kink; differences up to ``threshold`` are rounding.

    The even part of a smooth function falls to a quarter with half the step; that of a kink does not.
    """
    whole, half = changes[0] + changes[1], changes[2] + changes[3]
    return np.asarray(np.abs(whole - 4 * half) > threshold)


def _magnitudes(losses: Array, largest: Array) -> Array:
    """Return the magnitude of the numbers that the losses are computed from, given the ``largest`` scores."""
    return 1 + np.abs(losses) + largest


def with_moves(array: np.ndarray, places: np.ndarray, h: float) -> np.ndarray:
    """Return copies of an array ``(D,)``, ``(4 * M, D)``: one for each of `MOVES` of each of ``M`` places."""
    moved = np.repeat(array[None, :], len(MOVES) * len(places), axis=0)
    moved[np.arange(len(moved)), np.tile(places, len(MOVES))] += h * np.repeat(MOVES, len(places))
    return moved
