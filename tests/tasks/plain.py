"""The plain version: per-example loops and one evaluation at a time, the oracle of the fused core."""

import math

import numpy as np

from tasks.arrays.random_streams import normal
from tasks.losses import Logistic, Softmax, SquaredHinge, Svm


def loss_of_example(loss, scores, label):
    """Return the loss of one example from its scores ``(C,)``, class by class."""
    if isinstance(loss, Logistic):
        return sum(float(np.logaddexp(0, -s if j == label else s)) for j, s in enumerate(scores))
    others = [s for j, s in enumerate(scores) if j != label]
    if isinstance(loss, Svm):
        return sum(max(0.0, s - scores[label] + loss.margin) for s in others)
    if isinstance(loss, SquaredHinge):
        return sum(max(0.0, s - scores[label] + loss.margin) ** 2 for s in others)
    assert isinstance(loss, Softmax), f"the plain version of {type(loss).__name__} is missing here"
    largest = max(scores)
    return math.log(sum(math.exp(s - largest) for s in scores)) - (scores[label] - largest)


def features(dataset, split, dtype=np.float64):
    """Return centred images with the bias's 1, ``(N, D + 1)``."""
    centred = split.images.astype(dtype) - dataset.mean.astype(dtype)
    return np.concatenate([centred, np.ones((len(split), 1), dtype)], axis=1)


def mean_loss(trial, dataset, weights, index=None):
    """Return data loss plus regularization loss of one trial's weights in double precision."""
    x, y = features(dataset, dataset.train), dataset.train.labels
    if index is not None:
        x, y = x[index], y[index]
    scores = weights.astype(np.float64) @ x.T
    data = trial.loss.losses(scores, y).mean()
    return data + trial.regularization * float(trial.regularizer.penalty(weights.astype(np.float64)).sum())


def random_search(trial, dataset):
    """Return the best weights, and the best loss after every step: the notes' first loop."""
    shape = (len(dataset.classes), len(dataset.mean) + 1)
    best, best_weights, history = math.inf, None, []
    for step in range(trial.steps):
        weights = np.float32(1e-4) * normal(trial.seed, "perturbations", step, shape=shape)
        loss = mean_loss(trial, dataset, weights)
        if loss < best:
            best, best_weights = loss, weights
        history.append(best)
    return best_weights, history


def local_search(trial, dataset):
    """Return the last weights, and the loss after every step: the notes' second loop."""
    shape = (len(dataset.classes), len(dataset.mean) + 1)
    weights = np.float32(1e-3) * normal(trial.seed, "initial weights", shape=shape)
    best, history = math.inf, []
    for step in range(trial.steps):
        size = trial.learning_rate * trial.schedule.factor(step + 1, trial.steps)
        step_taken = np.float32(size) * normal(trial.seed, "perturbations", step, shape=shape)
        loss = mean_loss(trial, dataset, weights + step_taken)
        if loss < best:
            best, weights = loss, weights + step_taken
        history.append(best)
    return weights, history


def numerical_gradient(objective, point, *, h=1e-5, coordinates=None):
    """Return the centred difference of ``objective`` along every coordinate of ``point``: the notes' loop.

    ``coordinates`` are the indices to differentiate by, None for all; the others' slopes are NaN. The point is changed
    in place, one coordinate at a time, and each is restored exactly.
    """
    gradient = np.full(point.shape, np.nan)
    for index in np.ndindex(point.shape) if coordinates is None else coordinates:
        value = point[index]
        point[index] = value + h
        ahead = objective(point)
        point[index] = value - h
        gradient[index] = (ahead - objective(point)) / (2 * h)
        point[index] = value
    return gradient
