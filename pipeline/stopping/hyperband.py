"""stopping=hyperband: halving in several brackets, each with a later first rung."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.stopping.halving import Halving
from pipeline.stopping.rule import BracketedRule, MetricHistory


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperband(BracketedRule):
    """Halving for metrics that tell little early on: each bracket's first rung is ``reduction_factor`` times later.

    Each bracket is a separate halving. Source: Li et al. 2017, "Hyperband", with the settings of a grid instead of
    random draws.
    """

    brackets: int = 3

    def passing(self, arrived: Sequence[MetricHistory], *, complete: bool) -> list[int]:
        """Return those that `Halving` lets pass in the bracket."""
        return Halving(reduction_factor=self.reduction_factor).passing(arrived, complete=complete)
