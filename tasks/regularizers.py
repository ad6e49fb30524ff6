"""Regularizers: the penalty ``R(W)`` of the weights, and its gradient times a strength."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from array_api_compat import array_namespace

from tasks.arrays.array import Array


class Regularizer(Protocol):
    """A penalty ``R(W)``, a sum over the rows of the weights, each with its bias: a row of `REGULARIZERS`.

    ``decay`` is ``d`` where the gradient is ``d * W`` (and so ``R = d / 2 * sum W^2``), and 0 for any other penalty.
    """

    decay: ClassVar[float]

    def penalty(self, weights: Array) -> Array:
        """Return ``R`` of every row of weights, ``(*rows, D)`` as ``(*rows,)``."""

    def gradient(self, weights: Array, strength: Array) -> Array:
        """Return ``strength`` (broadcast over trials) times the gradient of ``R`` by rows of weights ``(*rows, D)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class L2:
    """``R(W) = sum W^2``, with gradient ``2 W`` (CS231n's convention: no factor one half)."""

    decay: ClassVar[float] = 2.0

    def penalty(self, weights: Array) -> Array:
        """Return the sum of squares."""
        return array_namespace(weights).vecdot(weights, weights, axis=-1)

    def gradient(self, weights: Array, strength: Array) -> Array:
        """Return ``strength * 2 W``."""
        return (self.decay * strength) * weights


@dataclass(frozen=True, slots=True, kw_only=True)
class L1:
    """``R(W) = sum |W|``, with subgradient ``sign(W)``, 0 at its kink."""

    decay: ClassVar[float] = 0.0

    def penalty(self, weights: Array) -> Array:
        """Return the sum of magnitudes."""
        xp = array_namespace(weights)
        return xp.sum(xp.abs(weights), axis=-1)

    def gradient(self, weights: Array, strength: Array) -> Array:
        """Return ``strength * sign(W)``."""
        return strength * array_namespace(weights).sign(weights)


REGULARIZERS: Mapping[str, type[Regularizer]] = {"l2": L2, "l1": L1}
