"""Slopes in score space: by the weights of the last layer, and by the pixels of a linear model."""

from __future__ import annotations

import numpy as np

from tasks.arrays.array import Array
from tasks.fused.batches import Batch
from tasks.fused.parallel import total
from tasks.fused.problem import Problem
from tasks.score_space.gradient import KINK_THRESHOLD, LossChanges, loss_changes
from tasks.weight_space.slopes import MOVES, Slopes, has_kink


def by_last_layer(problem: Problem, point: np.ndarray, batch: Batch, *, h: float) -> Slopes:
    """Return the slopes ``(C, D)`` of the objective on a batch at a point ``(P,)``, by every weight of the last layer.

    The scores of any model are linear in these weights.
    """
    trial, arrangement = problem.trials[0], problem.arrange(batch)
    rows = arrangement.rows(point[None, :])

    def differences(features: Array, labels: Array) -> LossChanges:
        inputs = arrangement.last_layer_inputs(rows, features)[0]  # (N, D)
        return loss_changes(trial.loss.losses, arrangement.scores(rows, features)[0], inputs, labels, h=h)

    changes = total(problem.over_blocks(batch, differences))
    penalty = _regularization_changes(problem, problem.matrices(point)[-1], h)
    return Slopes(
        ahead=(changes.ahead / len(batch) + penalty[0]) / h,
        behind=-(changes.behind / len(batch) + penalty[1]) / h,
        kinks=changes.kinks + has_kink(penalty, threshold=KINK_THRESHOLD),
    )


def _regularization_changes(problem: Problem, weights: np.ndarray, h: float) -> np.ndarray:
    """Return the changes of the regularization loss by `MOVES` of every weight, ``(4, C, D)``."""
    trial = problem.trials[0]

    def of_each(values: np.ndarray) -> np.ndarray:
        penalty = trial.regularizer.penalty(values[..., None])  # each weight as a row
        return trial.regularization * np.asarray(penalty)

    return np.stack([of_each(weights + move * h) - of_each(weights) for move in MOVES])


def by_data(problem: Problem, point: np.ndarray, batch: Batch, *, h: float) -> Slopes:
    """Return the slopes ``(N, D)`` of each example's loss at a point ``(P,)``, by every pixel."""
    loss, arrangement = problem.trials[0].loss, problem.arrange(batch)
    rows, matrix = arrangement.rows(point[None, :]), problem.matrices(point)[0][:, :-1]

    def numerical(features: Array, labels: Array) -> Slopes:
        scores = arrangement.scores(rows, features)[0]  # (C, N)
        changes = np.stack([_pixel_changes(loss, scores[:, n], labels[n], h * matrix) for n in range(len(labels))])
        changes = np.moveaxis(changes, 1, 0)  # (4, N, D)
        kinks = has_kink(changes, threshold=KINK_THRESHOLD * (1 + float(np.abs(scores).max()))).astype(np.int64)
        return Slopes(changes[0] / h, -changes[1] / h, kinks)

    return Slopes.joined(problem.over_blocks(batch, numerical))


def _pixel_changes(loss: Array, scores: np.ndarray, label: int, steps: np.ndarray) -> np.ndarray:
    """Return one example's changes of loss by `MOVES` of every pixel, ``(4, D)``; ``steps`` are those of the scores."""
    moved = scores[:, None] + np.concatenate([move * steps for move in MOVES], axis=1)  # (C, 4 * D)
    here = loss.losses(scores[:, None], np.array([label]))
    return np.asarray(loss.losses(moved, np.full(moved.shape[1], label)) - here).reshape(len(MOVES), -1)
