"""A convolution with zero padding that keeps the size of an image, as a product with its patches.

Source: CS231n, "Convolutional Neural Networks" ("Implementation as Matrix Multiplication"); Chellapilla et al. 2006.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from array_api_compat import array_namespace

from tasks.models.layers.layer import Forward


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """``y_f(h, w) = b_f + sum_{c, i, j} W_f(c, i, j) x_c(h + i - k // 2, w + j - k // 2)``, ``x`` 0 outside.

    Inputs ``(K, C, H, W, N)`` (``K`` may be 1: images that all trials share) become ``(K, F, H, W, N)``. Weights are
    rows ``(K*F, C*k*k + 1)``, a filter each; ``k`` is odd.

    >>> import numpy as np
    >>> image, filters = np.reshape([1.0, 2.0, 3.0], (1, 1, 1, 3, 1)), np.zeros((1, 10))
    >>> filters[0, 3:6] = 1, 10, 100  # the middle row of a 3 x 3 filter
    >>> Convolution(filters=1, kernel=3).forward(image, filters).outputs.ravel()
    array([210., 321.,  32.])
    """

    filters: int
    kernel: int
    matrices: ClassVar[int] = 1

    def forward(self, inputs: Any, weights: Any) -> Forward:
        """Return the filters' answers: with patches ``p`` as columns, ``y = W p + b``, which is an affine layer.

        So ``dL/dW = sum dL/dy p^T`` and ``dL/dp = W^T dL/dy``; a pixel is in up to ``k*k`` patches, and its gradient is
        the sum of theirs.
        """
        xp, shape = array_namespace(inputs), inputs.shape
        weights = xp.reshape(weights, (-1, self.filters, weights.shape[1]))
        matrix, bias = weights[..., :-1], weights[..., -1:]
        columns = patches(inputs, self.kernel)
        answers = xp.matmul(matrix, columns)  # (K, F, C*k*k) @ (K, C*k*k, H*W*N)
        answers += bias

        def flat(slope: Any) -> Any:
            return xp.reshape(slope, (slope.shape[0], self.filters, -1))

        def to_inputs(slope: Any) -> Any:
            by_patch = xp.matmul(xp.matrix_transpose(matrix), flat(slope))  # (K, C*k*k, F) @ (K, F, H*W*N)
            return sum_of_patches(by_patch, shape, self.kernel)

        def to_weights(slope: Any) -> list[Any]:
            slope = flat(slope)
            by_matrix = xp.matmul(slope, xp.matrix_transpose(columns))  # (K, F, H*W*N) @ (K, H*W*N, C*k*k)
            gradient = xp.concat([by_matrix, xp.sum(slope, axis=-1, keepdims=True)], axis=-1)
            return [xp.reshape(gradient, (-1, gradient.shape[-1]))]

        return Forward(xp.reshape(answers, (-1, self.filters, *shape[2:])), to_inputs, to_weights)


def patches(images: Any, kernel: int) -> Any:
    """Return of images ``(K, C, H, W, N)`` the ``kernel x kernel`` patch around every pixel: ``(K, C*k*k, H*W*N)``."""
    xp, (trials, channels, height, width, examples) = array_namespace(images), images.shape
    padded = _zeros((trials, channels, height + kernel - 1, width + kernel - 1, examples), images)
    _inside(padded, kernel)[...] = images
    columns = xp.empty(
        (trials, channels, kernel, kernel, height, width, examples),
        dtype=images.dtype,
        device=getattr(images, "device", None),
    )
    for i in range(kernel):
        for j in range(kernel):
            columns[:, :, i, j, ...] = padded[:, :, i : i + height, j : j + width, :]
    return xp.reshape(columns, (trials, channels * kernel * kernel, height * width * examples))


def sum_of_patches(columns: Any, shape: tuple[int, ...], kernel: int) -> Any:
    """Return the transpose of `patches`: every pixel of images ``(K, C, H, W, N)`` sums what its patches hold."""
    xp, (_, channels, height, width, examples) = array_namespace(columns), shape
    columns = xp.reshape(columns, (-1, channels, kernel, kernel, height, width, examples))
    padded = _zeros((columns.shape[0], channels, height + kernel - 1, width + kernel - 1, examples), columns)
    for i in range(kernel):
        for j in range(kernel):
            padded[:, :, i : i + height, j : j + width, :] += columns[:, :, i, j, ...]
    return _inside(padded, kernel)


def _inside(padded: Any, kernel: int) -> Any:
    """Return the view of padded images that leaves out their edge of zeros."""
    edge = kernel // 2
    height, width = padded.shape[2] - 2 * edge, padded.shape[3] - 2 * edge
    return padded[:, :, edge : edge + height, edge : edge + width, :]


def _zeros(shape: tuple[int, ...], like: Any) -> Any:
    return array_namespace(like).zeros(shape, dtype=like.dtype, device=getattr(like, "device", None))
