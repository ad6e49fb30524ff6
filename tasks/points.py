"""Where in the space of weights a task looks, and at which examples: random weights, directions, a seeded choice."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import array_namespace

from tasks.datasets.dataset import Dataset
from tasks.errors import require
from tasks.problem import Batch, Problem, total
from tasks.random_streams import normal, stream

UNTRAINED = frozenset(
    {"strategy", "optimizer", "schedule", "learning_rate", "batch_size", "steps", "record_every", "evaluate_every"}
)
"""The fields of a trial that have no influence where nothing is trained."""


def require_examples(count: int | None) -> None:
    """Refuse a number of examples below 1."""
    require(count is None or count >= 1, "task.examples", "must be >= 1, or null for the full training set", count)


def require_scale(parameter: str, scale: float | None, *, zero: bool = False) -> None:
    """Refuse a scale below 0, and 0 itself unless ``zero`` allows it."""
    rule = f"must be {'>=' if zero else '>'} 0, or null for scores of about 1"
    require(scale is None or scale > 0 or (zero and scale == 0), parameter, rule, scale)


def check_examples(count: int | None, dataset: Dataset) -> None:
    """Refuse more examples than the training set has."""
    available = len(dataset.train)
    rule = f"must be at most the {available} training examples of {dataset.name}, or null for all of them"
    require(count is None or count <= available, "task.examples", rule, count)


def chosen_examples(problem: Problem, count: int | None) -> Batch:
    """Return the first ``count`` training examples of the order that ``data_seed`` draws, None for all of them.

    A smaller choice is part of every larger one.
    """
    train = problem.dataset.train
    if count is None or count == len(train):
        return problem.batch(train)
    order = stream(problem.trials[0].data_seed, "examples").permutation(len(train))
    return problem.batch(train, np.sort(order[:count]))


def gaussian(problem: Problem, name: str, *index: int, scale: float | None) -> np.ndarray:
    """Return ``scale * N(0, 1)``, float32 ``(C, D)``, of the first trial's stream ``name`` at ``index``.

    The scale None is `natural_scale`.
    """
    drawn = normal(problem.trials[0].seed, name, *index, shape=problem.shape)
    return np.float32(natural_scale(problem) if scale is None else scale) * drawn


def natural_scale(problem: Problem) -> float:
    """Return the scale at which Gaussian weights give scores of about 1 (root mean square), whatever the data.

    That is one over the root mean square length of a centred training image with its bias. On CIFAR-10 it
    is about 3e-4, the spread of the notes' ``np.random.rand(10, 3073) * 0.001``.
    """
    xp, batch = array_namespace(problem.like), problem.batch(problem.dataset.train)
    squares = problem.over_blocks(batch, lambda features, _: xp.sum(features * features, dtype=xp.float64))
    return float((total(squares) / len(batch)) ** -0.5)


def gradient_at(problem: Problem, weights: Any, batch: Batch) -> Any:
    """Return the gradient of the objective of the whole batch at weights ``(K, C, D)``, of their shape."""
    layout = problem.layout(len(batch))
    rows = layout.rows(weights)

    def part(features: Any, labels: Any) -> Any:
        return problem.objective.evaluate(rows, features, labels, layout=layout, factor=1 / len(batch)).gradient

    gradient = layout.units(total(problem.over_blocks(batch, part)))
    return gradient + problem.objective.regularization_gradient(weights)
