"""Points in weight space and the examples they are evaluated on: random points, seeded examples, objective values."""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array
from tasks.arrays.devices import block_sizes
from tasks.arrays.random_streams import stream
from tasks.fused.batches import Batch
from tasks.fused.parallel import total
from tasks.fused.problem import Problem

# The numbers of points evaluated at once, with their activations: 64 MiB in float32, and a few copies of it.
_NUMBERS = 2**24


def chosen_examples(problem: Problem, count: int | None) -> Batch:
    """Return the first ``count`` training examples of an order drawn by ``data_seed``, None for all of them.

    A smaller sample is part of every larger one.
    """
    train = problem.dataset.train
    if count is None or count == len(train):
        return problem.batch(train)
    order = stream(problem.trials[0].data_seed, "examples").permutation(len(train))
    return problem.batch(train, np.sort(order[:count]))


def gaussian(problem: Problem, name: str, *index: int, scale: float | None) -> np.ndarray:
    """Return ``scale`` times the model's draw, float32 ``(P,)``, of the first trial's stream ``name`` at ``index``.

    The scale None is `Problem.natural_scale`.
    """
    drawn = problem.draw(problem.trials[0].seed, name, *index)
    return np.float32(problem.natural_scale if scale is None else scale) * drawn


def gradient_at(problem: Problem, points: Array, batch: Batch) -> Array:
    """Return the gradient ``(K, P)`` of the objective on a batch at points ``(K, P)``."""
    return problem.loss_and_gradient(points, batch)[0]


def objective_values(problem: Problem, points: Array, batch: Batch) -> tuple[Array, Array]:
    """Return the data loss and the regularization loss ``(M,)`` of the first trial at points ``(M, P)``.

    The objective is evaluated plainly in the problem's precision, with the points as trials.
    """
    xp, here = array_namespace(points), problem.of_trials([0] * points.shape[0])
    scores_of = here.scores_of(points, batch)

    def sums(features: Array, labels: Array) -> Array:
        return xp.sum(here.objective.losses_of_scores(scores_of(features), labels), axis=-1)

    return total(here.over_blocks(batch, sums)) / len(batch), here.regularization_loss(points)


def example_losses(problem: Problem, points: Array, batch: Batch) -> tuple[Array, Array, Array]:
    """Return every example's data loss ``(M, N)``, the regularization loss ``(M,)``, and the largest score ``(M, N)``.

    They are those of the first trial at points ``(M, P)``, as in `objective_values`; the largest score is by magnitude.
    """
    xp, here = array_namespace(points), problem.of_trials([0] * points.shape[0])
    scores_of = here.scores_of(points, batch)

    def losses(features: Array, labels: Array) -> tuple[Array, Array]:
        scores = scores_of(features)
        return here.objective.losses_of_scores(scores, labels), xp.max(xp.abs(scores), axis=-2)

    of_blocks = zip(*here.over_blocks(batch, losses), strict=True)
    each, largest = (xp.concat(column, axis=-1) for column in of_blocks)
    return each, here.regularization_loss(points), largest


def points_at_once(problem: Problem, batch: Batch) -> int:
    """Return how many points to evaluate at once, so that they and the activations of a block stay small."""
    of_example = problem.model.stored_activations(problem.dataset.image_shape, len(problem.dataset.classes))
    numbers = problem.size + min(len(batch), problem.block) * (of_example + len(problem.dataset.classes))
    return max(1, (_NUMBERS if is_numpy_array(problem.like) else block_sizes(problem.like).numbers) // numbers)
