"""The linear score function with the bias trick: ``f(x; W) = W x``, x ending in 1."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.products import (
    RowLayout,
    alignment,
    layout_of,
    panel_of_descent,
    product,
    scores_of_blocks,
    scores_of_units,
)
from tasks.models.model import GradientPart, Vjp, VjpInParts


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """Class scores that are linear in the weights ``(C, D)``, one row a class: see `ScoreLinear`."""

    def check(self, image_shape: tuple[int, ...]) -> None:
        """Accept features of any shape."""

    def shapes(self, image_shape: tuple[int, ...], classes: int) -> Mapping[str, tuple[int, int]]:
        """Return the shape of the weights, ``(C, D)``."""
        return {"weights": (classes, math.prod(image_shape) + 1)}

    def spreads(self, image_shape: tuple[int, ...], classes: int) -> Mapping[str, np.ndarray]:  # noqa: ARG002
        """Return 1 for every weight, the bias too: the strategy chooses the scale."""
        return {"weights": np.ones((1, math.prod(image_shape) + 1))}

    def initial_scale(self, usual: float) -> float:
        """Return the strategy's default: draws of standard deviation 1 are far too large."""
        return usual

    def arrange(
        self, trials: int, image_shape: tuple[int, ...], classes: int, examples: Iterable[int], *, like: Array
    ) -> LinearArrangement:
        """Return the weights of all trials as the rows of one product, ``(K*C, D) @ (D, N)``."""
        features = math.prod(image_shape) + 1
        layout = layout_of(trials, classes, panel_of_descent(like, examples, features))
        return LinearArrangement(layout=layout, features=features)

    def block(self, image_shape: tuple[int, ...], classes: int) -> int | None:  # noqa: ARG002
        """Return None: any number of examples suits."""
        return None

    def stored_activations(self, image_shape: tuple[int, ...], classes: int) -> int:  # noqa: ARG002
        """Return 0: there are no activations but the scores."""
        return 0

    def transient_activations(self, image_shape: tuple[int, ...], classes: int) -> int:  # noqa: ARG002
        """Return 0."""
        return 0

    def multiplications(self, image_shape: tuple[int, ...], classes: int) -> int:
        """Return the number of weights: one multiplication each."""
        return classes * (math.prod(image_shape) + 1)

    def layers(self, image_shape: tuple[int, ...]) -> Sequence[Mapping[str, Any]]:  # noqa: ARG002
        """Return the one layer; see `Layered`."""
        return [{"layer": "affine", "weights": "weights"}]

    def scores_of_blocks(self, blocks: Array, features: Array) -> Array:
        """Return the scores ``(J, M, C, N)`` of ``J`` blocks of ``M`` points ``(J, M, P)``; see `ScoreLinear`."""
        xp = array_namespace(blocks)
        outer, members, numbers = blocks.shape
        classes = numbers // features.shape[1]
        units = xp.reshape(blocks, (outer, members * classes, features.shape[1]))
        return xp.reshape(scores_of_blocks(units, features), (outer, members, classes, features.shape[0]))

    def scores_of_points(self, points: Array, features: Array) -> Array:
        """Return the scores ``(K, C, N)`` of points ``(K, P)`` on features ``(N, D)``."""
        xp = array_namespace(points)
        return scores_of_units(xp.reshape(points, (points.shape[0], -1, features.shape[1])), features)

    def alignment(self, image_shape: tuple[int, ...], classes: int, examples: int, *, dtype: str) -> int:
        """Return how many points fill whole panels of a product with so many examples; see `ScoreLinear`."""
        return alignment(classes, dtype, examples, math.prod(image_shape) + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearArrangement:
    """The weights of fused trials as rows of one matrix ``(H, D)``, laid out in panels."""

    layout: RowLayout
    features: int

    @property
    def layouts(self) -> Sequence[RowLayout]:
        """The layout of the one matrix."""
        return [self.layout]

    def rows(self, points: Array) -> list[Array]:
        """Return a copy of the weights as laid-out rows."""
        xp = array_namespace(points)
        units = xp.reshape(points, (points.shape[0], -1, self.features))
        return [xp.asarray(self.layout.rows(units), copy=True)]

    def points(self, rows: Sequence[Array]) -> Array:
        """Return the points ``(K, P)``."""
        units = self.layout.units(rows[0])
        return array_namespace(units).reshape(units, (units.shape[0], -1))

    def scores(self, rows: Sequence[Array], features: Array) -> Array:
        """Return the scores ``(K, C, N)``: one product."""
        return scores_of_units(self.layout.units(rows[0]), features)  # (K*C, D) @ (D, N)

    def scores_and_vjp(self, rows: Sequence[Array], features: Array) -> tuple[Array, Vjp]:
        """Return the scores, and the function from ``dL/ds`` to ``dL/dW = sum_n dL/ds_n x_n^T``: a product each."""
        scores = self.layout.units(product(rows[0], features.T))  # (H, D) @ (D, N)

        def vjp(slope: Array) -> list[Array]:
            return [product(self.layout.rows(slope), features)]  # (H, N) @ (N, D)

        return scores, vjp

    def scores_and_parts(self, rows: Sequence[Array], features: Array) -> tuple[Array, VjpInParts]:
        """Return the scores, and the gradient as one part."""
        scores, vjp = self.scores_and_vjp(rows, features)

        def parts(slope: Array) -> Iterator[GradientPart]:
            (gradient,) = vjp(slope)
            yield GradientPart(0, slice(0, gradient.shape[0]), gradient)

        return scores, parts

    def data_gradient(self, rows: Sequence[Array], features: Array, slope: Array) -> Array:  # noqa: ARG002
        """Return ``W^T dL/ds_n`` for every example, without the bias: ``(K, N, D - 1)``."""
        xp = array_namespace(slope)
        weights = self.layout.units(rows[0])[..., :-1]
        return xp.matmul(xp.matrix_transpose(slope), weights)  # (N, C) @ (C, D - 1)

    def last_layer_inputs(self, rows: Sequence[Array], features: Array) -> Array:
        """Return the features ``(K, N, D)``: the first layer is also the last."""
        del rows
        count = self.layout.places.shape[0]
        return array_namespace(features).broadcast_to(features, (count, *features.shape))
