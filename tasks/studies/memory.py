"""What the studies take of memory: the bytes of examples, of a gradient, and of points evaluated at once.

A study is never fused, and what is said of it decides nothing but what a dry run prints. ``doubles`` is 1 in single
precision and 2 in double.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.models.model import ScoreLinear
from tasks.weight_space.points import numbers_at_once

if TYPE_CHECKING:
    from tasks.memory import Sizes
    from tasks.trial import Trial


def count_of(sizes: Sizes, examples: int | None) -> int:
    """Return the number of examples that a study with this setting takes, None for all."""
    return sizes.train if examples is None else min(examples, sizes.train)


def seen_of(sizes: Sizes, examples: int | None) -> int:
    """Return how many of its examples a study computes at once."""
    return min(count_of(sizes, examples), sizes.block * sizes.threads)


def bytes_of_examples(sizes: Sizes, examples: int | None) -> int:
    """Return the bytes of the images of the examples, which are copied where they are not all."""
    count = count_of(sizes, examples)
    return count * sizes.images if count < sizes.train else 0


def bytes_of_features(sizes: Sizes, examples: int | None, *, doubles: int) -> int:
    """Return the bytes of features, scores, activations and gradients of the examples that are computed at once."""
    of_example = sizes.shared + 12 * sizes.scores + sizes.layers
    return doubles * seen_of(sizes, examples) * of_example


def bytes_of_natural_scale(trial: Trial, sizes: Sizes, *, doubles: int) -> int:
    """Return the bytes of a pass over all training examples for `natural_scale`: features, and their squares."""
    return 2 * doubles * seen_of(sizes, None) * sizes.features if isinstance(trial.model, ScoreLinear) else 0


def bytes_of_gradient(sizes: Sizes, examples: int | None, *, doubles: int) -> int:
    """Return the bytes of the gradient at a point: rows, gradients of blocks, matrices and a penalty's slope."""
    gradients = min(-(-count_of(sizes, examples) // sizes.block), 2 + sizes.threads)
    return bytes_of_features(sizes, examples, doubles=doubles) + doubles * (6 + gradients) * sizes.weights


def most_points(sizes: Sizes, examples: int | None) -> int:
    """Return how many points are evaluated at once, as `tasks.weight_space.points.points_at_once` does."""
    numbers = sizes.weights + min(count_of(sizes, examples), sizes.block) * (sizes.stored + sizes.scores)
    return max(1, 4 * numbers_at_once(on_device=sizes.on_device) // numbers)


def bytes_of_points(sizes: Sizes, points: int, seen: int, *, doubles: int) -> int:
    """Return the bytes of an evaluation of so many points on so many examples: the points, their rows and scores."""
    of_point = 6 * sizes.weights + seen * (6 * sizes.scores + sizes.layers)
    return doubles * (points * of_point + seen * sizes.shared)


def bytes_on_ray(trial: Trial, sizes: Sizes, examples: int | None, *, points: int) -> int:
    """Return the bytes, in double precision, of the gradient at a point, then of so many points at once on a ray.

    The weights, the gradient or another direction, and copies of both are kept.
    """
    of_points = bytes_of_points(sizes, points, seen_of(sizes, examples), doubles=2)
    of_gradient = bytes_of_gradient(sizes, examples, doubles=2)
    of_scale = bytes_of_natural_scale(trial, sizes, doubles=2)
    return bytes_of_examples(sizes, examples) + 10 * sizes.weights + max(of_points, of_gradient, of_scale)
