"""stopping=asha: the best at a rung go on as soon as enough have arrived, the others wait there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.stopping.rule import History, Reduced, best
from tasks.errors import require


@dataclass(frozen=True, slots=True, kw_only=True)
class Asha(Reduced):
    """Asynchronous successive halving: of n settings that have arrived, the best n / reduction_factor go on.

    A setting that is not among them is paused, and goes on later if more arrive and it is then; once nothing runs and
    nobody is to go on, who waits is stopped. Where fewer than ``reduction_factor`` come in all, the best goes on.
    Settings are spread over ``brackets`` in turn, each of which begins to compare ``reduction_factor`` times later.
    Source: Li et al. 2020, "A system for massively parallel hyperparameter tuning".
    """

    together: ClassVar[bool] = False

    brackets: int = 1

    def __post_init__(self) -> None:
        Reduced.__post_init__(self)
        require(self.brackets >= 1, "stopping.brackets", "must be >= 1", self.brackets)

    def passing(self, arrived: Sequence[History], *, complete: bool) -> list[int]:
        """Return the best of those who have arrived."""
        return best(arrived, max(len(arrived) // self.reduction_factor, int(complete)))
