"""A layer: its forward pass, and the two vector-Jacobian products of its backward pass.

Activations have the trial axis first and the examples last, ``(K, units, N)`` or ``(K, C, H, W, N)``: this is the
shape of the losses' scores, and copies of image windows are contiguous. Activations that all trials share have a
trial axis of length 1; the features, which the first layer takes, are ``(N, D)``. Weights are rows of all trials,
``(K*R, D + 1)``; the bias is the last column.

Backpropagation through a layer ``y = f(x, W)`` needs two products: given ``dL/dy``, the chain rule gives

    dL/dx = (dy/dx)^T dL/dy    for the layer before,
    dL/dW = (dy/dW)^T dL/dy    for the layer's own weights.

Neither Jacobian is formed. Source: CS231n, "Backpropagation, Intuitions"; Rumelhart, Hinton and Williams 1986.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from tasks.arrays.array import Array


class Forward(NamedTuple):
    """The outputs of a forward pass, and the functions of dL/doutputs that give dL/dinputs and dL/dweights.

    ``parts``, if any, yields dL/dweights in parts that fit in a processor's cache, each with its slice of the rows.
    """

    outputs: Array
    to_inputs: Callable[[Array], Array]
    to_weights: Callable[[Array], list[Array]]
    parts: Callable[[Array], Iterator[tuple[slice, Array]]] | None = None


class Layer(Protocol):
    """A layer of a network; ``matrices`` is the number of its weight matrices.

    Those of our own have none or one. A residual block, ``y = x + f(x)``, is a layer with the matrices of ``f``, whose
    gradients `Forward.to_weights` returns in the order of the matrices.
    """

    @property
    def matrices(self) -> int:
        """The number of its weight matrices."""

    def forward(self, inputs: Array, *weights: Array) -> Forward:
        """Return the outputs, and the functions of the backward pass."""


def no_weights(slope: Array) -> list[Array]:
    """Return the gradients of a layer without weights: none.

    >>> no_weights(1.0)
    []
    """
    del slope
    return []
