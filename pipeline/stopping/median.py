"""stopping=median: whose best is below the median of the others' averages does not go on."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.stopping.rule import Compared, History


@dataclass(frozen=True, slots=True, kw_only=True)
class Median(Compared):
    """The median rule, every ``min_steps`` steps, decided by what all who run have measured, whoever came first.

    A setting goes on if the best that it has measured is at least the median of what all have measured on average up
    to there. Source: Golovin et al. 2017, "Google Vizier", section 3.2.2.
    """

    brackets: ClassVar[int] = 1

    def rungs(self, first: int, steps: int, bracket: int) -> tuple[int, ...]:
        """Return every multiple of the first."""
        del bracket
        return tuple(range(first, steps, first))

    def passing(self, arrived: Sequence[History], *, complete: bool) -> list[int]:
        """Return those whose best is no worse than the median, once all have arrived."""
        finite = [place for place, history in enumerate(arrived) if all(value == value for value in history)]  # noqa: PLR0124
        if not complete or not finite:
            return []
        cut = statistics.median(statistics.fmean(arrived[place]) for place in finite)
        return [place for place in finite if max(arrived[place]) >= cut]
