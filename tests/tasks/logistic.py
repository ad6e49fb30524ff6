"""The one-vs-all logistic loss, a row that depends on each score by itself: the contracts must hold for it, too."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from tasks.coordinates import SIGNED, Coordinates
from tasks.labels import is_correct


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic:
    """``sum_j log(1 + exp(z_j))``, where ``z_j`` is the score, for the correct class its negative."""

    coordinates: ClassVar[Coordinates] = SIGNED
    smooth: ClassVar[bool] = True

    @property
    def offset(self):
        return 0.0

    def losses(self, scores, labels):
        return array_namespace(scores).sum(_softplus(self.coordinates.of(scores, labels)), axis=-2)

    def losses_and_gradient(self, scores, labels):
        xp, z = array_namespace(scores), self.coordinates.of(scores, labels)
        slope = xp.exp(z - _softplus(z))  # 1 / (1 + exp(-z)), whatever the sign of z
        sign = 1 - 2 * xp.astype(is_correct(scores, labels), scores.dtype)
        return xp.sum(_softplus(z), axis=-2), sign * slope

    def sums(self, coordinates):
        return array_namespace(coordinates).sum(_softplus(coordinates), axis=(-2, -1))


def loss_of_example(scores: Any, label: int) -> float:
    """Return the loss of one example, class by class."""
    return sum(float(np.logaddexp(0, -s if j == label else s)) for j, s in enumerate(scores))


def _softplus(z):
    xp = array_namespace(z)
    return xp.maximum(z, xp.zeros_like(z)) + xp.log1p(xp.exp(-xp.abs(z)))
