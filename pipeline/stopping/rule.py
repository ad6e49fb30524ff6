"""What a stopping rule is: pure functions from results to who goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from tasks.errors import require

History = Sequence[float]
"""What a setting has measured at each evaluation up to a rung, larger is better; the last is its score there."""


class Rule(Protocol):
    """A stopping rule: a row of `STOPPING`.

    ``stops`` says that there is anything to decide, ``together`` that settings are compared only with those that were
    proposed together, all of whom are waited for.
    """

    stops: ClassVar[bool]
    together: ClassVar[bool]

    @property
    def metric(self) -> str | None:
        """The metric that is compared, None for the one that the sweep ranks by."""

    @property
    def mode(self) -> str | None:
        """Whether the largest or the smallest is the best, None for what the sweep ranks by."""

    @property
    def min_steps(self) -> int | None:
        """The first rung, None for the first evaluation."""

    @property
    def max_steps(self) -> int | None:
        """What the rungs lie below, None for the steps of the trials."""

    @property
    def brackets(self) -> int:
        """How many brackets the settings are spread over: each decides for itself."""

    def rungs(self, first: int, steps: int, bracket: int) -> tuple[int, ...]:
        """Return the steps, ascending and below ``steps``, at which a bracket is compared; ``first`` is the first."""

    def passing(self, arrived: Sequence[History], *, complete: bool) -> list[int]:
        """Return the places of those who go on from a rung at which these have arrived; ``complete``: nobody else will.

        Whoever has passed once has passed for ever; the others are stopped once all have arrived. A history that ends
        in NaN never passes.
        """


def best(arrived: Sequence[History], count: int) -> list[int]:
    """Return the places of the ``count`` best by their last number, the earlier of equals first; NaN is none.

    >>> best([[0.1], [0.5], [float("nan")], [0.2, 0.5]], 2)
    [1, 3]
    """
    finite = [place for place, history in enumerate(arrived) if history[-1] == history[-1]]  # NaN is not
    return sorted(finite, key=lambda place: (-arrived[place][-1], place))[: max(count, 0)]


def geometric(first: int, factor: int, steps: int) -> tuple[int, ...]:
    """Return the steps from ``first`` on, each ``factor`` times the one before, below ``steps``.

    >>> geometric(50, 4, 1000)
    (50, 200, 800)
    """
    rungs = []
    while first < steps:
        rungs.append(first)
        first *= factor
    return tuple(rungs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What every rule that stops trials has: the metric that is compared, and the steps between which."""

    stops: ClassVar[bool] = True
    together: ClassVar[bool] = True

    metric: str | None = None
    mode: str | None = None
    min_steps: int | None = None
    max_steps: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("min_steps", self.min_steps), ("max_steps", self.max_steps)):
            require(value is None or value >= 1, f"stopping.{name}", "must be >= 1, or null", value)
        require(self.mode in {None, "max", "min"}, "stopping.mode", "must be max or min, or null", self.mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced(Compared):
    """What the rules have in common whose rungs are apart by a factor."""

    reduction_factor: int = 3

    def __post_init__(self) -> None:
        Compared.__post_init__(self)
        require(self.reduction_factor >= 2, "stopping.reduction_factor", "must be >= 2", self.reduction_factor)

    def rungs(self, first: int, steps: int, bracket: int) -> tuple[int, ...]:
        """Return the rungs of a bracket, counted from 0: the first is ``reduction_factor`` times later in each."""
        return geometric(first * self.reduction_factor**bracket, self.reduction_factor, steps)
