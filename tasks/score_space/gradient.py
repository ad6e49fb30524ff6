"""The numerical gradient by the weights of a linear layer of scores, with no product per weight.

A step ``h`` of weight ``(c, d)`` adds ``h * x_d`` to score ``c`` of every example and changes nothing else. So
the difference of the plain loop is a sum over examples of ``phi(h * x_d)``, where ``phi(t)`` is the change of the
example's loss when ``t`` is added to its score ``c``. The loss is a black box: each ``phi`` is sampled at a few points
of ``[-T, T]``, where ``T`` is the largest ``h * |x_d|``, and interpolated by a polynomial. Where further samples
confirm the polynomial up to rounding, the sums over examples are products with powers of the features; where they do
not (a kink is near), the loss is evaluated at every ``h * x_d``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tasks.weight_space.slopes import MOVES, ROUNDING, has_kink

# The polynomial of degree 4 interpolates 0 and four nodes; four more points confirm it. Of a function of two polynomial
# pieces at least five of the nine points are on one piece, so it passes only if its kink is within rounding of an end.
_NODES = np.array([-1.0, -0.5, 0.5, 1.0])
_CHECKS = np.array([-0.75, -0.25, 0.25, 0.75])
_DEGREES = np.array([1, 2, 3, 4])
_VANDERMONDE = _NODES[:, None] ** _DEGREES
_CHECK_POWERS = _CHECKS[:, None] ** _DEGREES

# An even part of a loss above this, relative to the loss, is a kink and not rounding.
KINK_THRESHOLD = 64 * ROUNDING

Losses = Callable[[np.ndarray, np.ndarray], np.ndarray]


class LossChanges(NamedTuple):
    """Sums over examples of the loss's changes by ``+h`` and ``-h`` in every weight, ``(C, D)`` each.

    ``kinks`` ``(C, D)`` counts the examples whose loss has a kink between ``-h`` and ``+h``.
    """

    ahead: np.ndarray
    behind: np.ndarray
    kinks: np.ndarray


def loss_changes(
    losses: Losses, scores: np.ndarray, features: np.ndarray, labels: np.ndarray, *, h: float
) -> LossChanges:
    """Return the changes of the summed losses of a block of examples by a step of every weight.

    The loss is known only as ``losses(scores (C, N), labels (N,))``, which returns ``(N,)``. ``scores`` are those of
    ``features (N, D)`` at the weights. All arrays are float64.
    """
    classes, dimensions = scores.shape[0], features.shape[1]
    here = losses(scores, labels)
    reach = h * np.abs(features).max()
    coefficients = np.zeros((len(_DEGREES), classes, len(labels)))
    kinked: list[tuple[int, int]] = []
    for c in range(classes):
        coefficients[:, c], smooth = _interpolate(losses, scores, labels, here, c, reach)
        coefficients[:, c, ~smooth] = 0
        kinked += [(c, n) for n in np.flatnonzero(~smooth).tolist()]
    odd, even = _sums_of_powers(coefficients, features * (h / reach))
    kinks = np.zeros((classes, dimensions), dtype=np.int64)
    ahead, behind = even + odd, even - odd
    for c, n in kinked:
        changes = changes_by_moves(losses, scores[:, n], labels[n], c, h * features[n])
        ahead[c] += changes[0]
        behind[c] += changes[1]
        kinks[c] += has_kink(changes, threshold=KINK_THRESHOLD * (1 + abs(float(here[n]))))
    return LossChanges(ahead, behind, kinks)


def _interpolate(
    losses: Losses, scores: np.ndarray, labels: np.ndarray, here: np.ndarray, c: int, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients ``(4, N)`` of each example's ``phi`` in ``t / reach``, and where confirmed, ``(N,)``."""

    def phi(places: np.ndarray) -> np.ndarray:
        rows = []
        for place in places:
            moved = scores.copy()
            moved[c] += place * reach
            rows.append(losses(moved, labels) - here)
        return np.stack(rows)

    coefficients = np.linalg.solve(_VANDERMONDE, phi(_NODES))
    residual = np.abs(phi(_CHECKS) - _CHECK_POWERS @ coefficients).max(axis=0)
    scale = np.abs(here) + np.abs(scores).max(axis=0) + 1
    # Coefficients below rounding are set to 0: a piecewise linear loss then needs a single product.
    coefficients = np.where(np.abs(coefficients) > 4 * ROUNDING * scale, coefficients, 0)
    return coefficients, residual <= 4 * ROUNDING * scale


def _sums_of_powers(coefficients: np.ndarray, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the odd and the even part of ``sum_n phi_cn(x_nd)``, ``(C, D)`` each; ``scaled`` is x, ``(N, D)``."""
    parts = [np.zeros((coefficients.shape[1], scaled.shape[1])) for _ in range(2)]
    power = np.ones_like(scaled)
    highest = max((int(k) for k, of_degree in zip(_DEGREES, coefficients, strict=True) if of_degree.any()), default=0)
    for degree in range(1, highest + 1):
        power = power * scaled
        parts[degree % 2] += coefficients[degree - 1] @ power  # (C, N) @ (N, D)
    return parts[1], parts[0]


def changes_by_moves(
    losses: Losses, scores: np.ndarray, label: int, moved: int | slice, steps: np.ndarray
) -> np.ndarray:
    """Return one example's changes of loss by `MOVES` of the ``moved`` of its scores ``(C,)``, ``(4, D)``.

    ``steps`` are what a step of each of ``D`` coordinates adds to these scores: ``(D,)`` for one, ``(C, D)`` for all.
    """
    points = np.repeat(scores[:, None], len(MOVES) * steps.shape[-1], axis=1)
    by_moves = np.array(MOVES)[:, None] * steps[..., None, :]  # (4, D) or (C, 4, D)
    points[moved] += by_moves.reshape(*steps.shape[:-1], -1)
    here = losses(scores[:, None], np.array([label]))
    return (losses(points, np.full(points.shape[1], label)) - here).reshape(len(MOVES), -1)
