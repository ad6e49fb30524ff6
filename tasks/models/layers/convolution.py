"""A convolution with zero padding that keeps the size of an image. Source: CS231n, "Convolutional Neural Networks"."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.models.layers.layer import Forward
from tasks.models.layers.patches import patches, sum_of_patches


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """``y_f(h, w) = b_f + sum_{c, i, j} W_f(c, i, j) x_c(h + i - k // 2, w + j - k // 2)``, ``x`` padded with 0.

    Inputs ``(K, C, H, W, N)`` become ``(K, filters, H, W, N)``. Weights are rows ``(K*filters, C*k*k + 1)``;
    ``kernel``, ``k``, is odd.

    >>> import numpy as np
    >>> image, rows = np.reshape([1.0, 2.0, 3.0], (1, 1, 1, 3, 1)), np.zeros((1, 10))
    >>> rows[0, 3:6] = 1, 10, 100  # the middle row of a 3 x 3 filter
    >>> Convolution(filters=1, kernel=3).forward(image, rows).outputs.ravel()
    array([210., 321.,  32.])
    """

    filters: int
    kernel: int
    matrices: ClassVar[int] = 1

    def forward(self, inputs: Array, weights: Array) -> Forward:
        """Return the feature maps ``y = W p``, with the patches ``p`` of ``x`` as columns.

        So ``dL/dW = sum dL/dy p^T``, and ``dL/dp = W^T dL/dy`` is summed over the patches that a pixel is in.
        """
        xp, (_, channels, *pixels) = array_namespace(inputs), inputs.shape
        size = channels * self.kernel**2
        weights = xp.reshape(weights, (-1, self.filters, size + 1))

        def columns() -> Array:
            # Computed again for the gradient: that is faster than to keep them in memory and read them back.
            return xp.reshape(patches(inputs, self.kernel), (-1, size + 1, math.prod(pixels)))

        def flat(slope: Array) -> Array:
            return xp.reshape(slope, (-1, self.filters, math.prod(pixels)))

        def to_inputs(slope: Array) -> Array:
            by_patch = xp.matmul(xp.matrix_transpose(weights[..., :-1]), flat(slope))  # (K, C*k*k, F) @ (K, F, H*W*N)
            return sum_of_patches(xp.reshape(by_patch, (-1, size, *pixels)), self.kernel)

        def to_weights(slope: Array) -> list[Array]:
            # (p dL/dy^T)^T, (K, C*k*k + 1, H*W*N) @ (K, H*W*N, F): a BLAS is slower at dL/dy p^T.
            transposed = xp.matmul(columns(), xp.matrix_transpose(flat(slope)))
            return [xp.reshape(xp.matrix_transpose(transposed), (-1, size + 1))]

        maps = xp.matmul(weights, columns())  # (K, F, C*k*k + 1) @ (K, C*k*k + 1, H*W*N)
        return Forward(xp.reshape(maps, (-1, self.filters, *pixels)), to_inputs, to_weights)
