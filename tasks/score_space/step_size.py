"""The losses along a ray in score space: two products give the scores of every step size."""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.devices import host
from tasks.fused.batches import Batch
from tasks.fused.parallel import total
from tasks.fused.problem import Problem
from tasks.models.model import ScoreLinear


def losses_after(
    problem: Problem, weights: Array, gradient: Array, sizes: np.ndarray, batch: Batch
) -> tuple[np.ndarray, np.ndarray]:
    """Return the data and regularization loss ``(S,)`` at ``weights - size * gradient``, both points ``(P,)``.

    The only products are the scores of the weights and those of the gradient.
    """
    xp, trial, model = array_namespace(weights), problem.trials[0], problem.model
    assert isinstance(model, ScoreLinear)
    ends = xp.stack([weights, gradient])

    def sums(features: Array, labels: Array) -> Array:
        scores = model.scores_of_points(ends, features)  # (2, C, N)
        here, along = scores[0, ...], scores[1, ...]
        # One step size at a time, so that the scores stay in cache.
        return xp.stack([xp.sum(trial.loss.losses(here - size * along, labels)) for size in sizes.tolist()])

    data = host(total(problem.over_blocks(batch, sums))) / len(batch)
    points = (weights - size * gradient for size in sizes.tolist())
    return data, host(xp.concat([problem.regularization_loss(point[None, :]) for point in points]))
