"""A landscape in score space: three products give the scores of every point of a plane."""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.devices import double
from tasks.arrays.stacking import per_trial
from tasks.fused.batches import Batch
from tasks.fused.parallel import total
from tasks.fused.problem import Problem
from tasks.models.model import ScoreLinear
from tasks.weight_space.grid import along_row, over_grid


def data_losses(problem: Problem, points: np.ndarray, a: np.ndarray, b: np.ndarray, batch: Batch) -> np.ndarray:
    """Return the mean data loss at ``W + a V1 + b V2``, float64 ``(B, A)``; points are W, V1 (and V2), ``(2|3, P)``.

    Scores are linear in the weights, and so are the coordinates that the loss depends on.
    """
    xp, model, loss = array_namespace(problem.like), problem.model, problem.trials[0].loss
    assert isinstance(model, ScoreLinear)
    weights = problem.array(points)
    # The offset is added once, at W.
    offsets = per_trial([loss.offset] + [0.0] * (len(points) - 1), like=problem.like, trailing=2)

    def counted(features: Array, labels: Array) -> Array:
        return loss.coordinates.counted(model.scores_of_points(weights, features), labels, offsets)

    blocks = problem.over_blocks(batch, counted)

    def sums(row: Array, columns: Array) -> Array:
        of_blocks = [
            xp.concat([double(loss.sums(of_grid)) for of_grid in along_row(block, row, columns)]) for block in blocks
        ]
        return total(of_blocks)

    return over_grid(problem, sums, a, b) / len(batch)
