"""What a layer is: outputs of inputs, and the two halves of the chain rule through it.

Activations have the trial axis first and the examples last, ``(K, units, N)`` or ``(K, C, H, W, N)``: scores come out
as the losses want them, and windows of images are copies of long runs. What all trials share has a trial axis of
length 1. Weights are rows of all trials, ``(K*R, D + 1)``, the bias the last column.

Backpropagation needs of a layer ``y = f(x, W)`` only this: given ``dL/dy``, the chain rule gives

    dL/dx = (dy/dx)^T dL/dy    for the layer before,
    dL/dW = (dy/dW)^T dL/dy    for the layer's own weights.

Neither Jacobian is ever formed. Source: CS231n, "Backpropagation, Intuitions"; Rumelhart, Hinton and Williams 1986.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from tasks.arrays.array import Array


class Forward(NamedTuple):
    """What a forward pass gives: outputs, and from dL/doutputs the gradients by the inputs and by every matrix.

    A gradient too large for a processor's cache may also be had in ``parts``, each with its place among the rows.
    """

    outputs: Array
    to_inputs: Callable[[Array], Array]
    to_weights: Callable[[Array], list[Array]]
    parts: Callable[[Array], Iterator[tuple[slice, Array]]] | None = None


class Layer(Protocol):
    """A layer of a network; ``matrices`` is how many it multiplies by, 0 or 1."""

    @property
    def matrices(self) -> int:
        """The number of its matrices."""

    def forward(self, inputs: Array, *weights: Array) -> Forward:
        """Return the outputs, and how gradients go back."""


def no_weights(slope: Array) -> list[Array]:
    """Return the gradients of a layer without weights: none.

    >>> no_weights(1.0)
    []
    """
    del slope
    return []
