"""stopping=halving: at each rung the best of all settings go on, one in ``reduction_factor``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.stopping.rule import History, best, check, geometric


@dataclass(frozen=True, slots=True, kw_only=True)
class Halving:
    """Successive halving: a rung is decided by what all have measured at it, whoever came first.

    Rungs are ``min_steps`` and its multiples by powers of ``reduction_factor``; of n settings, n / reduction_factor
    go on, rounded up. Source: Jamieson and Talwalkar 2016, "Non-stochastic best arm identification".
    """

    stops: ClassVar[bool] = True
    together: ClassVar[bool] = True
    brackets: ClassVar[int] = 1

    metric: str | None = None
    mode: str | None = None
    min_steps: int | None = None
    max_steps: int | None = None
    reduction_factor: int = 3

    def __post_init__(self) -> None:
        check(self, self.reduction_factor)

    def rungs(self, first: int, steps: int, bracket: int) -> tuple[int, ...]:
        """Return the rungs, which all settings share."""
        del bracket
        return geometric(first, self.reduction_factor, steps)

    def passing(self, arrived: Sequence[History], *, complete: bool) -> list[int]:
        """Return the best of all, once all have arrived."""
        return best(arrived, -(-len(arrived) // self.reduction_factor)) if complete else []
