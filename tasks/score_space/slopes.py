"""Slopes in score space: by the weights of the last layer, and by pixels that scores are linear in."""

from __future__ import annotations

import numpy as np

from tasks.arrays.array import Array
from tasks.arrays.devices import pieces
from tasks.fused.batches import Batch
from tasks.fused.parallel import total
from tasks.fused.problem import Problem
from tasks.score_space.gradient import KINK_THRESHOLD, LossChanges, changes_by_moves, loss_changes
from tasks.weight_space.slopes import MOVES, Slopes, has_kink, with_moves

# The weights of a row that are moved at once.
_MOVED = 64


def by_last_layer(problem: Problem, point: np.ndarray, batch: Batch, *, h: float) -> Slopes:
    """Return the slopes ``(C, D)`` of the objective on a batch at a point ``(P,)``, by every weight of the last layer.

    The scores of any model are linear in these weights.
    """
    trial, arrangement = problem.trials[0], problem.arrange(batch)
    rows = arrangement.rows(point[None, :])

    def differences(features: Array, labels: Array) -> LossChanges:
        inputs = arrangement.last_layer_inputs(rows, features)[0]  # (N, D)
        return loss_changes(trial.loss.losses, arrangement.scores(rows, features)[0], inputs, labels, h=h)

    changes = LossChanges(*map(total, zip(*problem.over_blocks(batch, differences), strict=True)))
    penalty, here = _regularization_changes(problem, problem.matrices(point)[-1], h)
    return Slopes(
        ahead=(changes.ahead / len(batch) + penalty[0]) / h,
        behind=-(changes.behind / len(batch) + penalty[1]) / h,
        kinks=changes.kinks + has_kink(penalty, threshold=KINK_THRESHOLD * (1 + here)),
    )


def _regularization_changes(problem: Problem, weights: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the changes of the regularization loss by `MOVES` of every weight, ``(4, C, D)``, and what is changed.

    What is changed is the loss of each weight, ``(C, D)``, or, where a penalty is no sum over weights, of each row.
    """
    trial = problem.trials[0]

    def losses(rows: np.ndarray) -> np.ndarray:
        return trial.regularization * np.asarray(trial.regularizer.penalty(rows))

    each, whole = losses(weights[..., None]), losses(weights)  # each weight as a row, (C, D), and each row, (C,)
    if np.allclose(each.sum(axis=-1), whole, rtol=1e-9, atol=0):
        return np.stack([losses((weights + move * h)[..., None]) - each for move in MOVES]), each
    parts = pieces(weights.shape[1], _MOVED)
    rows = [
        np.concatenate([losses(with_moves(row, np.r_[part], h)).reshape(len(MOVES), -1) for part in parts], axis=1)
        for row in weights
    ]
    return np.stack(rows, axis=1) - whole[:, None], whole[:, None]


def by_data(problem: Problem, point: np.ndarray, batch: Batch, *, h: float) -> Slopes:
    """Return the slopes ``(N, D)`` of each example's loss at a point ``(P,)``, by pixels that scores are linear in."""
    loss, arrangement = problem.trials[0].loss, problem.arrange(batch)
    rows, matrix = arrangement.rows(point[None, :]), problem.matrices(point)[-1][:, :-1]

    def numerical(features: Array, labels: Array) -> Slopes:
        scores = arrangement.scores(rows, features)[0]  # (C, N)
        every, steps = slice(None), h * matrix
        of_examples = [changes_by_moves(loss.losses, s, y, every, steps) for s, y in zip(scores.T, labels, strict=True)]
        changes = np.stack(of_examples, axis=1)  # (4, N, D)
        magnitudes = 1 + float(np.abs(scores).max()) + np.abs(loss.losses(scores, labels))[:, None]
        kinks = has_kink(changes, threshold=KINK_THRESHOLD * magnitudes).astype(np.int64)
        return Slopes(changes[0] / h, -changes[1] / h, kinks)

    return Slopes.joined(problem.over_blocks(batch, numerical))
