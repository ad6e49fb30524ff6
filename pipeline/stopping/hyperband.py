"""stopping=hyperband: halving in several brackets, each of which begins to compare later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.stopping.halving import Halving
from pipeline.stopping.rule import History, check, geometric
from tasks.errors import require


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperband:
    """Halving for metrics that tell little early on: each bracket's first rung is ``reduction_factor`` times later.

    Settings are spread over the ``brackets`` in turn; each is a halving of its own. Source: Li et al. 2017,
    "Hyperband", with the settings of a grid in place of random draws.
    """

    stops: ClassVar[bool] = True
    together: ClassVar[bool] = True

    metric: str | None = None
    mode: str | None = None
    min_steps: int | None = None
    max_steps: int | None = None
    reduction_factor: int = 3
    brackets: int = 3

    def __post_init__(self) -> None:
        check(self, self.reduction_factor)
        require(self.brackets >= 1, "stopping.brackets", "must be >= 1", self.brackets)

    def rungs(self, first: int, steps: int, bracket: int) -> tuple[int, ...]:
        """Return the rungs of a bracket, counted from 0."""
        return geometric(first * self.reduction_factor**bracket, self.reduction_factor, steps)

    def passing(self, arrived: Sequence[History], *, complete: bool) -> list[int]:
        """Return those whom `Halving` lets pass in the bracket."""
        return Halving(reduction_factor=self.reduction_factor).passing(arrived, complete=complete)
