"""A convolution of images that all trials share, from their patches: a product a trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array
from tasks.models.layers.layer import Forward


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedConvolution:
    """``y = W p`` for patches ``p`` ``(1, D, H, W, N)`` that end in the bias's 1: ``(K, filters, H, W, N)``.

    Weights are rows ``(K*filters, D)``.
    """

    filters: int
    matrices: ClassVar[int] = 1

    def forward(self, inputs: Array, weights: Array) -> Forward:
        """Return the feature maps; ``dL/dp = W^T dL/dy`` and ``dL/dW = sum dL/dy p^T`` over pixels and examples."""
        xp, (_, size, *pixels) = array_namespace(inputs), inputs.shape
        weights = xp.reshape(weights, (-1, self.filters, size))
        columns = xp.reshape(inputs, (1, size, -1))

        def flat(slope: Array) -> Array:
            return xp.reshape(slope, (slope.shape[0], self.filters, -1))

        def to_inputs(slope: Array) -> Array:
            by_patch = xp.matmul(xp.matrix_transpose(weights), flat(slope))  # (K, D, F) @ (K, F, H*W*N)
            return xp.reshape(by_patch, (-1, size, *pixels))

        def to_weights(slope: Array) -> list[Array]:
            if not is_numpy_array(slope):
                # One product of all trials' rows: those of a trial are too few for all processors of a device.
                return [xp.reshape(slope, (-1, columns.shape[-1])) @ xp.matrix_transpose(columns[0, ...])]
            # (p dL/dy^T)^T, (1, D, H*W*N) @ (K, H*W*N, F): a BLAS is slower at dL/dy p^T.
            transposed = xp.matmul(columns, xp.matrix_transpose(flat(slope)))
            return [xp.reshape(xp.matrix_transpose(transposed), (-1, size))]

        maps = xp.matmul(weights, columns)  # (K, F, D) @ (1, D, H*W*N)
        return Forward(xp.reshape(maps, (-1, self.filters, *pixels)), to_inputs, to_weights)
