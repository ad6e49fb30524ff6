"""The two-layer network of the peers: one trial at a time in PyTorch, the images read and scaled once a process.

Initial weights, split and order of the examples are this project's, so that the losses can be compared.
"""

from __future__ import annotations

import functools

import numpy as np
import svm
import torch

from tasks.arrays.random_streams import normal, stream

FEATURES, CLASSES = 3072, 10


@functools.cache
def load(root):
    """Return the training images float32 ``(N, 3072)``, centred and scaled, and their labels; then the test set's."""
    x, y, x_test, y_test = svm.load(root)
    deviation = np.sqrt(np.square(x[:, :-1], dtype=np.float64).mean(axis=0)).astype(np.float32)
    return [torch.from_numpy(array) for array in (x[:, :-1] / deviation, y, x_test[:, :-1] / deviation, y_test)]


def initial(hidden):
    """Return both layers' weights and biases: He et al. 2015 from this project's stream, biases 0."""
    drawn = normal(0, "initial weights", shape=(hidden * (FEATURES + 1) + CLASSES * (hidden + 1),))
    first, second = np.split(drawn, [hidden * (FEATURES + 1)])
    parameters = []
    for matrix in (first.reshape(hidden, -1), second.reshape(CLASSES, -1)):
        scale = np.float32(np.sqrt(2 / (matrix.shape[1] - 1)))
        parameters += [torch.from_numpy(scale * matrix[:, :-1]), torch.zeros(len(matrix))]
    return [parameter.requires_grad_() for parameter in parameters]


def train(data, *, hidden, learning_rate, regularization, batch_size, steps, log):
    """Descend, and call ``log(metrics, step)`` every ten steps with means since the last call."""
    x, y, x_test, y_test = data
    parameters = initial(hidden)
    optimizer = torch.optim.SGD(parameters, lr=learning_rate)
    an_epoch = len(y) // batch_size
    losses, hits = [], []
    for step in range(1, steps + 1):
        epoch, place = divmod(step - 1, an_epoch)
        if place == 0:
            order = torch.from_numpy(stream(0, "data order", epoch).permutation(len(y)))
        batch = order[place * batch_size : (place + 1) * batch_size]
        labels = y[batch]
        scores = forward(parameters, x[batch])
        penalty = sum(parameter.square().sum() for parameter in parameters)
        loss = torch.nn.functional.cross_entropy(scores, labels) + regularization * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        hits.append((scores.argmax(dim=1) == labels).float().mean().item())
        if step % 10 == 0:  # as this project by default
            metrics = {"train/loss": float(np.mean(losses)), "train/accuracy": float(np.mean(hits))}
            if step == steps:
                with torch.no_grad():
                    right = forward(parameters, x_test).argmax(dim=1) == y_test
                metrics["test/accuracy"] = right.float().mean().item()
            log(metrics, step)
            losses, hits = [], []


def forward(parameters, images):
    """Return the scores ``(N, 10)``."""
    first, first_bias, second, second_bias = parameters
    return torch.relu(images @ first.T + first_bias) @ second.T + second_bias
