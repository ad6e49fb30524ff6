"""The patches of an image (im2col): the window of a filter at every pixel, so that a convolution is a product.

Source: CS231n, "Convolutional Neural Networks" ("Implementation as Matrix Multiplication"); Chellapilla et al. 2006.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.models.layers.layer import Forward, no_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """Images ``(K, C, H, W, N)`` to ``(K, C*k*k + 1, H, W, N)``: each pixel's patch, and the bias's 1.

    Images are padded with 0; ``kernel``, ``k``, is odd.

    >>> import numpy as np
    >>> image = np.reshape([1.0, 2.0, 3.0], (1, 1, 1, 3, 1))
    >>> Patches(kernel=3).forward(image).outputs[0, 3:6, 0, :, 0]  # the middle row of the patches
    array([[0., 1., 2.],
           [1., 2., 3.],
           [2., 3., 0.]])
    """

    kernel: int
    matrices: ClassVar[int] = 0

    def forward(self, inputs: Array) -> Forward:
        """Return the patches; a pixel's gradient is the sum over the up to ``k*k`` patches that it is in."""

        def to_inputs(slope: Array) -> Array:
            return sum_of_patches(slope[:, :-1, ...], self.kernel)  # the bias's 1 is no pixel

        return Forward(patches(inputs, self.kernel), to_inputs, no_weights)


def patches(images: Array, kernel: int) -> Array:
    """Return the patch of every pixel of images ``(K, C, H, W, N)``, and a 1: ``(K, C*k*k + 1, H, W, N)``."""
    xp, (trials, channels, height, width, examples) = array_namespace(images), images.shape
    like: Array = {"dtype": images.dtype, "device": images.device}
    padded = xp.zeros((trials, channels, height + kernel - 1, width + kernel - 1, examples), **like)
    _inside(padded, kernel)[...] = images
    columns = xp.empty((trials, channels * kernel**2 + 1, height, width, examples), **like)
    columns[:, -1, ...] = 1
    for i in range(kernel):
        for j in range(kernel):
            places = slice(i * kernel + j, channels * kernel**2, kernel**2)  # one of every channel
            columns[:, places, ...] = padded[:, :, i : i + height, j : j + width, :]
    return columns


def sum_of_patches(columns: Array, kernel: int) -> Array:
    """Return the sum over each pixel's entries in patches ``(K, C*k*k, H, W, N)``, ``(K, C, H, W, N)`` (col2im)."""
    xp, (trials, rows, height, width, examples) = array_namespace(columns), columns.shape
    shape = (trials, rows // kernel**2, height + kernel - 1, width + kernel - 1, examples)
    padded = xp.zeros(shape, dtype=columns.dtype, device=columns.device)
    for i in range(kernel):
        for j in range(kernel):
            padded[:, :, i : i + height, j : j + width, :] += columns[:, i * kernel + j :: kernel**2, ...]
    return _inside(padded, kernel)


def _inside(padded: Array, kernel: int) -> Array:
    """Return the view of padded images without their padding."""
    edge = kernel // 2
    height, width = padded.shape[2] - 2 * edge, padded.shape[3] - 2 * edge
    return padded[:, :, edge : edge + height, edge : edge + width, :]
