"""stopping=asha: the best at a rung go on as soon as enough have arrived, the others pause there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.stopping.rule import BracketedRule, MetricHistory, best


@dataclass(frozen=True, slots=True, kw_only=True)
class Asha(BracketedRule):
    """Asynchronous successive halving: of n settings that have arrived, the best n / reduction_factor go on.

    A setting that is not among them is paused, and promoted if more arrive and it is then among the best. Once nothing
    runs and no setting can go on, the paused ones are stopped. If fewer than ``reduction_factor`` arrive in all, the
    best goes on.
    Source: Li et al. 2020, "A system for massively parallel hyperparameter tuning".
    """

    synchronous: ClassVar[bool] = False

    def passing(self, arrived: Sequence[MetricHistory], *, complete: bool) -> list[int]:
        """Return the best of those that have arrived."""
        return best(arrived, max(len(arrived) // self.reduction_factor, int(complete)))
