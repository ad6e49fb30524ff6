"""Lion (Chen et al. 2023)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from array_api_compat import array_namespace

from tasks.errors import require


@dataclass(frozen=True, slots=True, kw_only=True)
class Lion:
    """``-learning_rate * sign(b1 m + (1 - b1) g)``, then ``m <- b2 m + (1 - b2) g``."""

    elementwise: ClassVar[bool] = True
    plain: ClassVar[bool] = False

    beta1: float = 0.9
    beta2: float = 0.99

    def __post_init__(self):
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            require(0 <= value < 1, f"optimizer.{name}", "must be >= 0 and below 1", value)

    def init(self, weights: Any) -> Any:
        """Return a momentum of 0."""
        return {"momentum": array_namespace(weights).zeros_like(weights)}

    def update(self, gradient: Any, state: Any, *, learning_rate: Any, step: int) -> tuple[Any, Any]:
        """Return a step of the learning rate's length in every coordinate."""
        xp, momentum = array_namespace(gradient), state["momentum"]
        direction = xp.sign(self.beta1 * momentum + (1 - self.beta1) * gradient)
        return -learning_rate * direction, {"momentum": self.beta2 * momentum + (1 - self.beta2) * gradient}
