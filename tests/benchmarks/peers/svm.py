"""The linear SVM of the peers: one trial at a time in plain NumPy, the images read once a process.

Initial weights, split and order of the examples are this project's, so that the losses can be compared.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from tasks.arrays.random_streams import normal, stream

RECORD = 3073
VALIDATION = 1000


@functools.cache
def load(root):
    """Return the training images float32 ``(N, 3073)``, centred, with a bias, and their labels; then the test set's."""
    train, _ = split(root)
    mean = train[:, 1:].mean(axis=0, dtype=np.float64).astype(np.float32)
    return *features(train, mean), *features(read(Path(root) / "cifar-10-batches-bin" / "test_batch.bin"), mean)


@functools.cache
def held_out(root):
    """Return the validation images and their labels, as `load` those for training."""
    train, validation = split(root)
    return features(validation, train[:, 1:].mean(axis=0, dtype=np.float64).astype(np.float32))


def split(root):
    folder = Path(root) / "cifar-10-batches-bin"
    train = np.concatenate([read(folder / f"data_batch_{number}.bin") for number in range(1, 6)])
    chosen = np.random.default_rng(0).permutation(len(train))[:VALIDATION]
    return np.delete(train, chosen, axis=0), train[chosen]


def read(file):
    return np.fromfile(file, dtype=np.uint8).reshape(-1, RECORD)


def features(records, mean):
    x = np.empty(records.shape, dtype=np.float32)
    np.subtract(records[:, 1:], mean, out=x[:, :-1])
    x[:, -1] = 1
    return x, records[:, 0].astype(np.int64)


def accuracy(weights, x, labels):
    """Return the share of the images whose highest score is that of their label."""
    return float(np.mean((x @ weights.T).argmax(axis=1) == labels))


def train(data, *, learning_rate, regularization, batch_size, steps, log):
    """Descend, call ``log(metrics, step)`` every ten steps with means since the last call, return the weights."""
    x, y, x_test, y_test = data
    weights = np.float32(1e-4) * normal(0, "initial weights", shape=(10, RECORD))
    rows = np.arange(batch_size)
    an_epoch = len(y) // batch_size
    losses, hits = [], []
    for step in range(1, steps + 1):
        epoch, place = divmod(step - 1, an_epoch)
        if place == 0:
            order = stream(0, "data order", epoch).permutation(len(y))
        batch = order[place * batch_size : (place + 1) * batch_size]
        images, labels = x[batch], y[batch]
        scores = images @ weights.T
        margins = np.maximum(scores - scores[rows, labels][:, None] + 1, 0)
        margins[rows, labels] = 0
        losses.append(margins.sum() / batch_size + regularization * np.sum(weights * weights))
        hits.append(np.mean(scores.argmax(axis=1) == labels))
        slope = (margins > 0).astype(np.float32)
        slope[rows, labels] = -slope.sum(axis=1)
        gradient = slope.T @ images / batch_size + np.float32(2 * regularization) * weights
        weights -= np.float32(learning_rate) * gradient
        if step % 10 == 0:  # as this project by default
            metrics = {"train/loss": float(np.mean(losses)), "train/accuracy": float(np.mean(hits))}
            if step == steps:
                metrics["test/accuracy"] = accuracy(weights, x_test, y_test)
            log(metrics, step)
            losses, hits = [], []
    return weights
