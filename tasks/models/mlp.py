"""A fully connected network: ``s = W_3 f(W_2 f(W_1 x))``, a bias in every layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.arrays.array import Array
from tasks.arrays.products import layout_of, panel_of_descent
from tasks.errors import require, require_choice
from tasks.models.initial import check_initial, spread_but_bias
from tasks.models.layers import Affine, Layer, Relu, SharedAffine, Tanh
from tasks.models.network import Network, connected_shapes

# The numbers of a part of a gradient. Smaller parts slow the product, larger ones the update: for 48 nets with 100
# hidden units on CIFAR-10 a step is fastest with parts of 192 to 384 rows of 3073, and a tenth slower without parts.
_PART = 2**20

ACTIVATIONS: Mapping[str, type[Relu | Tanh]] = {"relu": Relu, "tanh": Tanh}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp:
    """A hidden layer for each number of units in ``hidden``, and a layer of scores; see `Model`.

    ``activation`` is ``relu`` or ``tanh``, ``initial`` the spread of the first draw: ``he``, ``xavier`` or a number.
    The first layer of all trials is one product, ``(K*H, D) @ (D, N)``. Source: CS231n, "Neural Networks Part 1".
    """

    hidden: tuple[int, ...] = (100,)
    activation: str = "relu"
    initial: str = "he"

    def __post_init__(self) -> None:
        require(self.hidden, "model.hidden", "must name the width of at least one layer", list(self.hidden))
        require(all(width >= 1 for width in self.hidden), "model.hidden", "must be widths >= 1", list(self.hidden))
        require_choice("model.activation", self.activation, ACTIVATIONS)
        check_initial(self.initial)

    def check(self, image_shape: tuple[int, ...]) -> None:
        """Accept features of any shape."""

    def shapes(self, image_shape: tuple[int, ...], classes: int) -> Mapping[str, tuple[int, int]]:
        """Return the shapes ``hidden1 (H_1, D)``, ``hidden2 (H_2, H_1 + 1)``, ..., ``scores (C, H + 1)``."""
        return connected_shapes(math.prod(image_shape), self.hidden, classes)

    def spreads(self, image_shape: tuple[int, ...], classes: int) -> Mapping[str, np.ndarray]:
        """Return the standard deviation of the first draw of every matrix's columns, ``(1, D)``, 0 for the bias."""
        return {
            name: spread_but_bias(self.initial, fan_in=columns - 1, fan_out=units)
            for name, (units, columns) in self.shapes(image_shape, classes).items()
        }

    def initial_scale(self, usual: float) -> float:
        """Return 1: the draw already has a spread fit for training."""
        del usual
        return 1.0

    def arrange(
        self, trials: int, image_shape: tuple[int, ...], classes: int, examples: Iterable[int], *, like: Array
    ) -> Network:
        """Return the layers of fused trials: the first is one product for all, the others a product a trial."""
        first, *others = shapes = tuple(self.shapes(image_shape, classes).values())
        panel = panel_of_descent(like, examples, first[1])
        shared = layout_of(trials, first[0], panel)
        part = max(1, _PART // (first[1] * panel.rows)) * panel.rows if panel else shared.height
        activation = ACTIVATIONS[self.activation]()
        layers: list[Layer] = [SharedAffine(layout=shared, part=part)]
        for units, _ in others:
            layers += [activation, Affine(units=units)]
        layouts = (shared, *(layout_of(trials, units, None) for units, _ in others))
        return Network(layers=tuple(layers), shapes=shapes, layouts=layouts)

    def block(self, image_shape: tuple[int, ...], classes: int) -> None:
        """Return None: any number of examples suits."""

    def stored_activations(self, image_shape: tuple[int, ...], classes: int) -> int:
        """Return four numbers a unit: its input, its output, and the gradients of both."""
        del image_shape
        return 4 * (sum(self.hidden) + classes)

    def transient_activations(self, image_shape: tuple[int, ...], classes: int) -> int:  # noqa: ARG002
        """Return 0: all trials go through a layer together."""
        return 0

    def multiplications(self, image_shape: tuple[int, ...], classes: int) -> int:
        """Return the number of weights: one multiplication each."""
        return sum(units * columns for units, columns in self.shapes(image_shape, classes).values())

    def layers(self, image_shape: tuple[int, ...]) -> Sequence[Mapping[str, Any]]:
        """Return the layers by name; see `Layered`."""
        first, *others = self.shapes(image_shape, classes=1)
        layers: list[Mapping[str, Any]] = [{"layer": "affine", "weights": first}]
        for name in others:
            layers += [{"layer": self.activation}, {"layer": "affine", "weights": name}]
        return layers
