"""stopping=median: a setting whose best is below the median of all averages is stopped."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.stopping.rule import ComparingRule, MetricHistory


@dataclass(frozen=True, slots=True, kw_only=True)
class Median(ComparingRule):
    """The median rule, every ``min_steps`` steps, decided once all settings have arrived, whatever their order.

    A setting goes on if its best value so far is at least the median of all settings' average values so far.
    Source: Golovin et al. 2017, "Google Vizier", section 3.2.2.
    """

    brackets: ClassVar[int] = 1

    def rungs(self, first: int, steps: int, bracket: int) -> tuple[int, ...]:
        """Return every multiple of the first."""
        del bracket
        return tuple(range(first, steps, first))

    def passing(self, arrived: Sequence[MetricHistory], *, complete: bool) -> list[int]:
        """Return those whose best is no worse than the median, once all have arrived."""
        finite = [place for place, history in enumerate(arrived) if not any(map(math.isnan, history))]
        if not complete or not finite:
            return []
        # The mean of equal values may be rounded to more than they are.
        median = statistics.median(min(statistics.fmean(arrived[place]), max(arrived[place])) for place in finite)
        return [place for place in finite if max(arrived[place]) >= median]
