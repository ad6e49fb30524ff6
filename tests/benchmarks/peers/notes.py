"""The notes' loops in NumPy: one evaluation of the loss over all images at a time.

Source: the notes, "Strategy #1", "Strategy #2" and "Computing the gradient numerically with finite differences".
``W @ X.T`` with an image a row of ``X`` was the fastest of the layouts that the notes' loop can take.
"""

from __future__ import annotations

import numpy as np

from tasks.arrays.random_streams import normal


def features(dataset, split, dtype):
    """Return images ``(N, D + 1)``, centred, with the bias's 1."""
    x = np.empty((len(split), split.images.shape[1] + 1), dtype=dtype)
    np.subtract(split.images, dataset.mean, out=x[:, :-1])
    x[:, -1] = 1
    return x


def L(X, y, W):  # noqa: N802  # the notes' own name
    """Return the multiclass SVM loss of all images."""
    scores = W @ X.T  # (C, D) @ (D, N)
    examples = np.arange(len(y))
    margins = np.maximum(0, scores - scores[y, examples] + 1)
    margins[y, examples] = 0
    return margins.sum(axis=0).mean(dtype=np.float64)


def random_search(X, y, *, scale=1e-4):
    """Yield the best loss after every candidate."""
    best = np.inf
    while True:
        W = (np.random.randn(10, X.shape[1]) * scale).astype(X.dtype)  # noqa: NPY002  # the notes' own line
        best = min(best, L(X, y, W))
        yield best


def local_search(X, y, *, initial_scale, step_size, seed=0):
    """Yield the loss after every step; the draws are this project's, so that the accepted steps can be compared."""
    shape, step = (10, X.shape[1]), 0
    W = np.float32(initial_scale) * normal(seed, "initial weights", shape=shape)
    best = np.inf
    while True:
        W_try = W + np.float32(step_size) * normal(seed, "perturbations", step, shape=shape)
        loss = L(X, y, W_try)
        if loss < best:
            W, best = W_try, loss
        step += 1
        yield best


def numerical_gradient(f, x, indices, h=1e-5):
    """Yield the forward difference of ``f`` at ``x`` by the entries at ``indices``."""
    fx = f(x)
    for index in indices:
        old_value = x[index]
        x[index] = old_value + h
        fxh = f(x)
        x[index] = old_value
        yield (fxh - fx) / h
