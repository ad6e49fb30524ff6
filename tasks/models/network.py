"""A network: layers one after the other, and backpropagation through them, for many trials at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from tasks.models.layers.layer import Forward, Layer
from tasks.models.model import ToRows
from tasks.products import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The chain ``scores = f_L(... f_2(f_1(x)))``; see `Arrangement`.

    ``shapes`` are those of one trial's matrices, in the order of the layers that have one; ``layouts`` say where the
    rows of all trials stand in each.
    """

    layers: tuple[Layer, ...]
    shapes: tuple[tuple[int, int], ...]
    layouts: tuple[Layout, ...]

    @property
    def owners(self) -> list[np.ndarray]:
        """Of each matrix, the trial that owns each of its rows, ``(H_i,)``; of rows that nobody has, the first."""
        return [layout.owners() for layout in self.layouts]

    def rows(self, points: Any) -> list[Any]:
        """Return points ``(K, P)`` as matrices ``(H_i, D_i)``, arrays of their own that may be updated in place."""
        xp, trials = array_namespace(points), points.shape[0]
        ends = list(itertools.accumulate(height * width for height, width in self.shapes))
        parts = [points[:, start:end] for start, end in itertools.pairwise([0, *ends])]
        units = [xp.reshape(part, (trials, *shape)) for part, shape in zip(parts, self.shapes, strict=True)]
        laid_out = [layout.rows(unit) for layout, unit in zip(self.layouts, units, strict=True)]
        return [xp.asarray(matrix, copy=True) for matrix in laid_out]

    def points(self, rows: Sequence[Any]) -> Any:
        """Return the points ``(K, P)`` of matrices: the inverse of `rows`."""
        xp = array_namespace(*rows)
        units = [layout.units(matrix) for layout, matrix in zip(self.layouts, rows, strict=True)]
        return xp.concat([xp.reshape(unit, (unit.shape[0], -1)) for unit in units], axis=1)

    def scores(self, rows: Sequence[Any], features: Any) -> Any:
        """Return the scores of features ``(N, D)``, ``(K, C, N)``."""
        return self._outputs(self.layers, rows, features)

    def scores_and_vjp(self, rows: Sequence[Any], features: Any) -> tuple[Any, ToRows]:
        """Return the scores ``(K, C, N)``, and what makes of dL/dscores the gradient of every matrix.

        Backpropagation: the last layer first, each turns the gradient by its outputs into that by its weights and
        that by its inputs, which are the outputs of the layer before.
        """
        passes = self._forward(rows, features)

        def to_rows(slope: Any) -> list[Any]:
            gradients: list[Any] = []
            for forward in reversed(passes):
                gradients = forward.to_weights(slope) + gradients
                if len(gradients) == len(self.layouts):
                    break  # no layer before has weights
                slope = forward.to_inputs(slope)
            return gradients

        return passes[-1].outputs, to_rows

    def data_gradient(self, rows: Sequence[Any], features: Any, slope: Any) -> Any:
        """Return dL/dfeatures but for the bias's 1, ``(K, N, D - 1)``, from ``slope``, dL/dscores ``(K, C, N)``."""
        for forward in reversed(self._forward(rows, features)):
            slope = forward.to_inputs(slope)
        return slope[..., :-1]

    def last_layer_inputs(self, rows: Sequence[Any], features: Any) -> Any:
        """Return what the last matrix multiplies, its 1 appended: ``(K, N, H + 1)``."""
        inputs = self._outputs(self.layers[:-1], rows, features)  # (K, H, N)
        xp = array_namespace(inputs)
        inputs = xp.matrix_transpose(inputs)
        return xp.concat([inputs, xp.ones_like(inputs[..., :1])], axis=-1)

    def _outputs(self, layers: Sequence[Layer], rows: Sequence[Any], features: Any) -> Any:
        """Return what the last of some layers, the first ones, gives; what is in between is not kept."""
        weights, outputs = iter(rows), features
        for layer in layers:
            outputs = layer.forward(outputs, *itertools.islice(weights, layer.matrices)).outputs
        return outputs

    def _forward(self, rows: Sequence[Any], features: Any) -> list[Forward]:
        """Return the forward pass of every layer."""
        weights, outputs, passes = iter(rows), features, []
        for layer in self.layers:
            passes.append(layer.forward(outputs, *itertools.islice(weights, layer.matrices)))
            outputs = passes[-1].outputs
        return passes
