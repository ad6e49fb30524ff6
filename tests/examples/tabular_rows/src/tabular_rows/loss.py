"""Softmax of a temperature."""

from dataclasses import dataclass
from typing import Any, ClassVar

from array_api_compat import array_namespace

from tasks.coordinates import DIFFERENCES, Coordinates
from tasks.errors import require
from tasks.labels import correct_scores, is_correct


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempered:
    """``T log(sum_j exp(s_j / T)) - s_y``: softmax at T = 1, the largest violation as T goes to 0."""

    coordinates: ClassVar[Coordinates] = DIFFERENCES
    smooth: ClassVar[bool] = True

    temperature: float = 0.5

    def __post_init__(self):
        require(self.temperature > 0, "loss.temperature", "must be > 0", self.temperature)

    @property
    def offset(self) -> float:
        """Nothing."""
        return 0.0

    def losses(self, scores: Any, labels: Any) -> Any:
        """Return the loss of every example, ``(*trials, N)``."""
        return self.losses_and_gradient(scores, labels)[0]

    def losses_and_gradient(self, scores: Any, labels: Any) -> tuple[Any, Any]:
        """Return losses ``(*trials, N)`` and the probabilities at this temperature, for the correct class minus 1."""
        xp = array_namespace(scores)
        shifted = scores - xp.max(scores, axis=-2, keepdims=True)
        exponentials = xp.exp(shifted / self.temperature)
        total = xp.sum(exponentials, axis=-2, keepdims=True)
        losses = self.temperature * xp.log(total) - correct_scores(shifted, labels)
        return losses[..., 0, :], exponentials / total - xp.astype(is_correct(scores, labels), scores.dtype)

    def sums(self, coordinates: Any) -> Any:
        """Return the sum of ``T log(1 + sum_j exp((s_j - s_y) / T))``, ``(*trials,)``."""
        xp = array_namespace(coordinates)
        top = xp.max(coordinates, axis=-2, keepdims=True)
        top = xp.maximum(top, xp.zeros_like(top))
        total = xp.exp(-top / self.temperature)
        total = total + xp.sum(xp.exp((coordinates - top) / self.temperature), axis=-2, keepdims=True)
        return xp.sum(self.temperature * xp.log(total) + top, axis=(-2, -1))
