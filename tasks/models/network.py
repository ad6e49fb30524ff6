"""A network: layers one after the other, and backpropagation through them, for many trials at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.products import RowLayout
from tasks.models.layers.layer import Forward, Layer
from tasks.models.model import GradientPart, Vjp, VjpInParts, as_matrices


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The chain ``scores = f_L(... f_2(f_1(x)))``; see `Arrangement`.

    ``shapes`` are those of one trial's matrices, in the order of the layers that have one; ``layouts`` are the places
    of all trials' rows in each.
    """

    layers: tuple[Layer, ...]
    shapes: tuple[tuple[int, int], ...]
    layouts: tuple[RowLayout, ...]

    def rows(self, points: Array) -> list[Array]:
        """Return points ``(K, P)`` as matrices ``(H_i, D_i)``: copies, which may be updated in place."""
        xp, units = array_namespace(points), as_matrices(points, self.shapes)
        laid_out = [layout.rows(unit) for layout, unit in zip(self.layouts, units, strict=True)]
        return [xp.asarray(matrix, copy=True) for matrix in laid_out]

    def points(self, rows: Sequence[Array]) -> Array:
        """Return the points ``(K, P)`` of matrices: the inverse of `rows`."""
        xp = array_namespace(*rows)
        units = [layout.units(matrix) for layout, matrix in zip(self.layouts, rows, strict=True)]
        return xp.concat([xp.reshape(unit, (unit.shape[0], -1)) for unit in units], axis=1)

    def scores(self, rows: Sequence[Array], features: Array) -> Array:
        """Return the scores of features ``(N, D)``, ``(K, C, N)``."""
        return self._outputs(self.layers, rows, features)

    def scores_and_vjp(self, rows: Sequence[Array], features: Array) -> tuple[Array, Vjp]:
        """Return the scores ``(K, C, N)``, and the function from dL/dscores to the gradient by every matrix."""
        scores, passes = self._forward(rows, features)

        def to_rows(slope: Array) -> list[Array]:
            gradients: list[Array] = []
            for forward, by_outputs in self._backward(passes, slope):
                gradients = forward.to_weights(by_outputs) + gradients
            return gradients

        return scores, to_rows

    def scores_and_parts(self, rows: Sequence[Array], features: Array) -> tuple[Array, VjpInParts]:
        """Return the scores ``(K, C, N)``, and the function that yields the gradients of `scores_and_vjp` in parts.

        The rows of a part may be updated as soon as it is yielded.
        """
        scores, passes = self._forward(rows, features)

        def to_parts(slope: Array) -> Iterator[GradientPart]:
            matrix = len(self.layouts)
            for forward, by_outputs in self._backward(passes, slope):
                if forward.parts is not None:
                    matrix -= 1
                    yield from (GradientPart(matrix, place, gradient) for place, gradient in forward.parts(by_outputs))
                    continue
                for gradient in reversed(forward.to_weights(by_outputs)):
                    matrix -= 1
                    yield GradientPart(matrix, slice(0, gradient.shape[0]), gradient)

        return scores, to_parts

    def data_gradient(self, rows: Sequence[Array], features: Array, slope: Array) -> Array:
        """Return dL/dfeatures without the bias's 1, ``(K, N, D - 1)``, from ``slope``, dL/dscores ``(K, C, N)``."""
        return self.inputs_gradient(rows, features, slope)[..., :-1]

    def inputs_gradient(self, rows: Sequence[Array], inputs: Array, slope: Array) -> Array:
        """Return the gradient by the inputs of the first layer, from ``slope``, dL/dscores."""
        _, passes = self._forward(rows, inputs)
        for forward in reversed(passes):
            slope = forward.to_inputs(slope)
        return slope

    def last_layer_inputs(self, rows: Sequence[Array], features: Array) -> Array:
        """Return the inputs of the last layer with the bias's 1 appended, ``(K, N, H + 1)``."""
        inputs = self._outputs(self.layers[:-1], rows, features)  # (K, H, N)
        xp = array_namespace(inputs)
        inputs = xp.matrix_transpose(inputs)
        return xp.concat([inputs, xp.ones_like(inputs[..., :1])], axis=-1)

    def _outputs(self, layers: Sequence[Layer], rows: Sequence[Array], features: Array) -> Array:
        """Return the outputs of the last of ``layers``, which are the network's first; activations are not kept."""
        weights, outputs = iter(rows), features
        for layer in layers:
            outputs = layer.forward(outputs, *itertools.islice(weights, layer.matrices)).outputs
        return outputs

    def _forward(self, rows: Sequence[Array], features: Array) -> tuple[Array, list[Forward]]:
        """Return the scores, and every layer's backward pass; outputs are kept only where a backward pass uses them."""
        weights, outputs, passes = iter(rows), features, []
        for layer in self.layers:
            forward = layer.forward(outputs, *itertools.islice(weights, layer.matrices))
            outputs = forward.outputs
            passes.append(forward._replace(outputs=None))
        return outputs, passes

    def _backward(self, passes: Sequence[Forward], slope: Array) -> Iterator[tuple[Forward, Array]]:
        """Yield the layers from the last to the first that has weights, each with the gradient by its outputs.

        Backpropagation: each layer turns the gradient by its outputs into the gradient by its inputs, which are the
        outputs of the layer before. It does so before it is yielded, since its weights may be updated then.
        """
        first = next(number for number, layer in enumerate(self.layers) if layer.matrices)
        for number in range(len(passes) - 1, first, -1):
            by_inputs = passes[number].to_inputs(slope)
            yield passes[number], slope
            slope = by_inputs
        yield passes[first], slope  # the layers before it have no weights: no gradient by its inputs is needed


def connected_shapes(inputs: int, hidden: Sequence[int], classes: int) -> dict[str, tuple[int, int]]:
    """Return the shape ``(R, D)`` of each fully connected layer's matrix, with its bias, by the layer's name."""
    names = [*(f"hidden{number}" for number in range(1, len(hidden) + 1)), "scores"]
    widths = itertools.pairwise([inputs, *hidden, classes])
    return {name: (after, before + 1) for name, (before, after) in zip(names, widths, strict=True)}
