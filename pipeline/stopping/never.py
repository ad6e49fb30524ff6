"""stopping=none: every trial runs to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.stopping.rule import MetricHistory


@dataclass(frozen=True, slots=True, kw_only=True)
class Never:
    """No rungs."""

    stops: ClassVar[bool] = False
    synchronous: ClassVar[bool] = True
    brackets: ClassVar[int] = 1
    metric: ClassVar[str | None] = None
    mode: ClassVar[str | None] = None
    min_steps: ClassVar[int | None] = None
    max_steps: ClassVar[int | None] = None

    def rungs(self, first: int, steps: int, bracket: int) -> tuple[int, ...]:
        """Return none."""
        del first, steps, bracket
        return ()

    def passing(self, arrived: Sequence[MetricHistory], *, complete: bool) -> list[int]:
        """Return all."""
        del complete
        return list(range(len(arrived)))
