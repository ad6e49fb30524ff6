"""stopping=asha: the best at a rung go on as soon as enough have arrived, the others pause there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.stopping.rule import GeometricRule, MetricHistory, best
from tasks.errors import require


@dataclass(frozen=True, slots=True, kw_only=True)
class Asha(GeometricRule):
    """Asynchronous successive halving: of n settings that have arrived, the best n / reduction_factor go on.

    A setting that is not among them is paused, and promoted if more arrive and it is then among the best. Once nothing
    runs and no setting can go on, the paused ones are stopped. If fewer than ``reduction_factor`` arrive in all, the
    best goes on. Settings are dealt to ``brackets`` in turn; each bracket's first rung is ``reduction_factor`` times
    later than the one before's.
    Source: Li et al. 2020, "A system for massively parallel hyperparameter tuning".
    """

    synchronous: ClassVar[bool] = False

    brackets: int = 1

    def __post_init__(self) -> None:
        GeometricRule.__post_init__(self)
        require(self.brackets >= 1, "stopping.brackets", "must be >= 1", self.brackets)

    def passing(self, arrived: Sequence[MetricHistory], *, complete: bool) -> list[int]:
        """Return the best of those that have arrived."""
        return best(arrived, max(len(arrived) // self.reduction_factor, int(complete)))
