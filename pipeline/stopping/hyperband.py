"""stopping=hyperband: halving in several brackets, each with a later first rung."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.stopping.halving import Halving
from pipeline.stopping.rule import GeometricRule, MetricHistory
from tasks.errors import require


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperband(GeometricRule):
    """Halving for metrics that tell little early on: each bracket's first rung is ``reduction_factor`` times later.

    Settings are dealt to the ``brackets`` in turn; each bracket is a separate halving. Source: Li et al. 2017,
    "Hyperband", with the settings of a grid instead of random draws.
    """

    brackets: int = 3

    def __post_init__(self) -> None:
        GeometricRule.__post_init__(self)
        require(self.brackets >= 1, "stopping.brackets", "must be >= 1", self.brackets)

    def passing(self, arrived: Sequence[MetricHistory], *, complete: bool) -> list[int]:
        """Return those that `Halving` lets pass in the bracket."""
        return Halving(reduction_factor=self.reduction_factor).passing(arrived, complete=complete)
