"""Losses: each example's loss from its scores and label, and its gradient with respect to the scores.

Scores are ``(*trials, C, N)``, labels ``(N,)``. One row computes the losses of all trials, so its numbers are arrays
``(*trials, 1, 1)``: they broadcast with scores, and with losses only before the class axis is summed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.coordinates import DIFFERENCES, SIGNED, Coordinates
from tasks.errors import require
from tasks.labels import correct_scores, is_correct


class Loss(Protocol):
    """A loss: a row of `LOSSES`. It depends on the scores through its ``coordinates`` alone.

    ``smooth`` says that it has all derivatives: no kinks, no jumps of a slope.
    """

    coordinates: ClassVar[Coordinates]
    smooth: ClassVar[bool]

    @property
    def offset(self) -> Array:
        """The number that is added to every coordinate."""

    def losses(self, scores: Array, labels: Array) -> Array:
        """Return the loss of every example, ``(*trials, N)``."""

    def losses_and_gradient(self, scores: Array, labels: Array) -> tuple[Array, Array]:
        """Return the losses ``(*trials, N)`` and the gradient of each by its scores, ``(*trials, C, N)``."""

    def sums(self, coordinates: Array) -> Array:
        """Return the sum of the examples' losses, ``(*trials,)``, from coordinates plus offset ``(*trials, Z, N)``.

        A coordinate that the losses ignore is not there, or it is ``-inf``: ``Z`` may be a class less or all.
        """


@runtime_checkable
class PiecewiseLinear(Protocol):
    """The capability of a loss that is a sum of terms ``max(0, s_j - s_y + offset)``.

    Along a line through weight space each term of a linear model is flat or linear: `task=one_dimensional` shows them.
    """

    def terms(self, scores: Array, labels: Array) -> Array:
        """Return the terms ``(*trials, C, N)``, 0 for the correct class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Svm:
    r"""Multiclass SVM (hinge) loss of Weston and Watkins, ``sum_{j != y} max(0, s_j - s_y + margin)``.

    At a kink (``s_j - s_y + margin == 0``) the subgradient 0 is taken.
    Source: the notes, "Computing the gradient analytically with Calculus".

    >>> import numpy as np
    >>> Svm().losses(np.array([[3.2], [5.1], [-1.7]]), np.array([0])).round(6)
    array([2.9])
    """

    coordinates: ClassVar[Coordinates] = DIFFERENCES
    smooth: ClassVar[bool] = False

    margin: float = 1.0

    def __post_init__(self) -> None:
        require(self.margin >= 0, "loss.margin", "must be >= 0", self.margin)

    @property
    def offset(self) -> Array:
        """The margin."""
        return self.margin

    def losses(self, scores: Array, labels: Array) -> Array:
        """Return the loss of every example, ``(*trials, N)``."""
        xp = array_namespace(scores)
        return xp.sum(self.terms(scores, labels), axis=-2)

    def terms(self, scores: Array, labels: Array) -> Array:
        """Return ``max(0, s_j - s_y + margin)``, ``(*trials, C, N)``, 0 for the correct class."""
        return violations(scores, labels, self.margin)

    def losses_and_gradient(self, scores: Array, labels: Array) -> tuple[Array, Array]:
        """Return losses ``(*trials, N)`` and gradient: 1 where violated, for the correct class minus their count."""
        xp = array_namespace(scores)
        excess = self.terms(scores, labels)
        violated = xp.astype(excess > 0, scores.dtype)
        count = xp.sum(violated, axis=-2, keepdims=True)
        return xp.sum(excess, axis=-2), violated - count * xp.astype(is_correct(scores, labels), scores.dtype)

    def sums(self, coordinates: Array) -> Array:
        """Return the sum of the positive coordinates, ``(*trials,)``."""
        xp = array_namespace(coordinates)
        return xp.sum(xp.maximum(coordinates, _zeros(coordinates)), axis=(-2, -1))


@dataclass(frozen=True, slots=True, kw_only=True)
class SquaredHinge:
    """Squared hinge loss, ``sum_{j != y} max(0, s_j - s_y + margin)^2``; its second derivative jumps at a kink.

    Source: CS231n, "Linear Classification" (the L2-SVM).

    >>> import numpy as np
    >>> SquaredHinge().losses(np.array([[3.2], [5.1], [-1.7]]), np.array([0])).round(6)
    array([8.41])
    """

    coordinates: ClassVar[Coordinates] = DIFFERENCES
    smooth: ClassVar[bool] = False

    margin: float = 1.0

    def __post_init__(self) -> None:
        require(self.margin >= 0, "loss.margin", "must be >= 0", self.margin)

    @property
    def offset(self) -> Array:
        """The margin."""
        return self.margin

    def losses(self, scores: Array, labels: Array) -> Array:
        """Return the loss of every example, ``(*trials, N)``."""
        xp = array_namespace(scores)
        excess = violations(scores, labels, self.margin)
        return xp.sum(excess * excess, axis=-2)

    def losses_and_gradient(self, scores: Array, labels: Array) -> tuple[Array, Array]:
        """Return losses ``(*trials, N)`` and gradient: twice the violations, for the correct class minus their sum."""
        xp = array_namespace(scores)
        excess = violations(scores, labels, self.margin)
        slope = 2 * excess
        total = xp.sum(slope, axis=-2, keepdims=True)
        correct = xp.astype(is_correct(scores, labels), scores.dtype)
        return xp.sum(excess * excess, axis=-2), slope - total * correct

    def sums(self, coordinates: Array) -> Array:
        """Return the sum of the squares of the positive coordinates, ``(*trials,)``."""
        xp = array_namespace(coordinates)
        positive = xp.maximum(coordinates, _zeros(coordinates))
        return xp.sum(positive * positive, axis=(-2, -1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax:
    """Softmax (cross-entropy) loss, ``log(sum_j exp(s_j)) - s_y``; the largest score is subtracted first (no overflow).

    Source: CS231n, "Linear Classification".

    >>> import numpy as np
    >>> Softmax().losses(np.array([[1e5], [0.0]]), np.array([0]))
    array([0.])
    """

    coordinates: ClassVar[Coordinates] = DIFFERENCES
    smooth: ClassVar[bool] = True
    offset: ClassVar[float] = 0.0

    def losses(self, scores: Array, labels: Array) -> Array:
        """Return the loss of every example, ``(*trials, N)``."""
        xp = array_namespace(scores)
        shifted = scores - xp.max(scores, axis=-2, keepdims=True)
        correct = correct_scores(shifted, labels)[..., 0, :]
        return xp.log(xp.sum(xp.exp(shifted), axis=-2)) - correct

    def losses_and_gradient(self, scores: Array, labels: Array) -> tuple[Array, Array]:
        """Return losses ``(*trials, N)`` and gradient: the probabilities, for the correct class minus 1."""
        xp = array_namespace(scores)
        shifted = scores - xp.max(scores, axis=-2, keepdims=True)
        exponentials = xp.exp(shifted)
        total = xp.sum(exponentials, axis=-2, keepdims=True)
        losses = xp.log(total)[..., 0, :] - correct_scores(shifted, labels)[..., 0, :]
        return losses, exponentials / total - xp.astype(is_correct(scores, labels), scores.dtype)

    def sums(self, coordinates: Array) -> Array:
        """Return the sum of ``log(1 + sum_j exp(s_j - s_y))``, ``(*trials,)``."""
        xp = array_namespace(coordinates)
        top = xp.max(coordinates, axis=-2, keepdims=True)
        top = xp.maximum(top, _zeros(top))  # the correct class's difference is 0
        total = xp.exp(-top) + xp.sum(xp.exp(coordinates - top), axis=-2, keepdims=True)
        return xp.sum(xp.log(total) + top, axis=(-2, -1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic:
    """One-vs-all logistic loss, ``sum_j log(1 + exp(z_j))``: ``z_j`` is the score, for the correct class its negative.

    Source: CS231n, "Neural Networks Part 2" (attribute classification).

    >>> import numpy as np
    >>> Logistic().losses(np.array([[1e5], [-1e5]]), np.array([0]))
    array([0.])
    """

    coordinates: ClassVar[Coordinates] = SIGNED
    smooth: ClassVar[bool] = True
    offset: ClassVar[float] = 0.0

    def losses(self, scores: Array, labels: Array) -> Array:
        """Return the loss of every example, ``(*trials, N)``."""
        return array_namespace(scores).sum(_softplus(self.coordinates.of(scores, labels)), axis=-2)

    def losses_and_gradient(self, scores: Array, labels: Array) -> tuple[Array, Array]:
        """Return losses ``(*trials, N)`` and gradient: ``1 / (1 + exp(-z_j))``, for the correct class its negative."""
        xp, z = array_namespace(scores), self.coordinates.of(scores, labels)
        each = _softplus(z)
        slope = xp.exp(z - each)  # 1 / (1 + exp(-z)), without overflow whatever the sign of z
        sign = 1 - 2 * xp.astype(is_correct(scores, labels), scores.dtype)
        return xp.sum(each, axis=-2), sign * slope

    def sums(self, coordinates: Array) -> Array:
        """Return the sum of ``log(1 + exp(z_j))``, ``(*trials,)``."""
        return array_namespace(coordinates).sum(_softplus(coordinates), axis=(-2, -1))


LOSSES: Mapping[str, type[Loss]] = {
    "svm": Svm,
    "softmax": Softmax,
    "squared_hinge": SquaredHinge,
    "logistic": Logistic,
}


def violations(scores: Array, labels: Array, margin: Array) -> Array:
    """Return ``max(0, s_j - s_y + margin)``, ``(*trials, C, N)``, 0 for the correct class."""
    xp = array_namespace(scores)
    excess = scores - (correct_scores(scores, labels) - margin)
    # maximum() propagates NaN, so that a divergence is detected. The mask is (C, N), shared by all trials, and is
    # multiplied: four times as fast as where().
    return xp.maximum(excess, _zeros(scores)) * xp.astype(~is_correct(scores, labels), scores.dtype)


def _softplus(z: Array) -> Array:
    """Return ``log(1 + exp(z))``, without overflow."""
    xp = array_namespace(z)
    return xp.maximum(z, _zeros(z)) + xp.log1p(xp.exp(-xp.abs(z)))


def _zeros(scores: Array) -> Array:
    """Return zeros ``(C, N)``: NumPy's maximum with them is three times as fast as with a scalar."""
    return array_namespace(scores).zeros(scores.shape[-2:], dtype=scores.dtype, device=scores.device)
