"""stopping=halving: at each rung the best of all settings go on, one in ``reduction_factor``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.stopping.rule import GeometricRule, MetricHistory, best


@dataclass(frozen=True, slots=True, kw_only=True)
class Halving(GeometricRule):
    """Successive halving: a rung is decided once all settings have arrived, whatever their order.

    Rungs are ``min_steps`` and its multiples by powers of ``reduction_factor``; of n settings, n / reduction_factor
    go on, rounded up. Source: Jamieson and Talwalkar 2016, "Non-stochastic best arm identification".
    """

    brackets: ClassVar[int] = 1

    def passing(self, arrived: Sequence[MetricHistory], *, complete: bool) -> list[int]:
        """Return the best of all, once all have arrived."""
        return best(arrived, -(-len(arrived) // self.reduction_factor)) if complete else []
