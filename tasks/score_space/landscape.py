"""A landscape in score space: three products serve every point of a plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from tasks.devices import double
from tasks.grid import along_row, over_grid
from tasks.losses import excesses
from tasks.models.model import ScoreLinear
from tasks.problem import Batch, Problem, total
from tasks.stacking import per_trial


def data_losses(problem: Problem, points: np.ndarray, a: np.ndarray, b: np.ndarray, batch: Batch) -> np.ndarray:
    """Return the mean data loss at ``W + a V1 + b V2``, float64 ``(B, A)``; points are W, V1 (and V2), ``(2|3, P)``.

    Scores are linear in the weights, and so are their differences to the correct class's, which are all that a loss
    depends on.
    """
    xp, model, loss = array_namespace(problem.like), problem.model, problem.trials[0].loss
    assert isinstance(model, ScoreLinear)
    weights = problem.array(points)
    # The margin counts once, at W: what a direction adds to a difference has none.
    margins = per_trial([loss.margin] + [0.0] * (len(points) - 1), like=problem.like, trailing=2)
    blocks = problem.over_blocks(batch, lambda x, labels: excesses(model.scores_of_points(weights, x), labels, margins))

    def sums(row: float, columns: np.ndarray) -> Any:
        of_blocks = [
            xp.concat([double(loss.sums(of_grid)) for of_grid in along_row(block, row, columns)]) for block in blocks
        ]
        return total(of_blocks)

    return over_grid(problem, sums, a, b) / len(batch)
