"""Learning-rate schedules: the factor on the learning rate at a step, as a pure function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tasks.errors import require


class Schedule(Protocol):
    """A schedule: a row of `SCHEDULES`."""

    def factor(self, step: int, steps: int) -> float:
        """Return the factor on the learning rate at ``step`` (from 1) of a budget of ``steps``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The learning rate as it is: the factor 1."""

    def factor(self, step: int, steps: int) -> float:
        """Return 1."""
        del step, steps
        return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDecay:
    """``decay``, applied once every ``every`` steps.

    >>> StepDecay(every=100, decay=0.5).factor(201, 1000)
    0.25
    """

    every: int = 250
    decay: float = 0.5

    def __post_init__(self) -> None:
        require(self.every >= 1, "schedule.every", "must be >= 1", self.every)
        require(0 < self.decay <= 1, "schedule.decay", "must be above 0 and at most 1", self.decay)

    def factor(self, step: int, steps: int) -> float:
        """Return ``decay ** ((step - 1) // every)``."""
        del steps
        return float(self.decay ** ((step - 1) // self.every))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponential:
    """Exponential decay from 1 at the first step to ``decay``, which the step after the budget would have."""

    decay: float = 0.01

    def __post_init__(self) -> None:
        require(0 < self.decay <= 1, "schedule.decay", "must be above 0 and at most 1", self.decay)

    def factor(self, step: int, steps: int) -> float:
        """Return ``decay ** ((step - 1) / steps)``."""
        return float(self.decay ** ((step - 1) / steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosine:
    """Half a cosine from 1 at the first step to ``floor``, which the step after the budget would have.

    Source: Loshchilov and Hutter 2017, without restarts.
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.floor <= 1, "schedule.floor", "must be between 0 and 1", self.floor)

    def factor(self, step: int, steps: int) -> float:
        """Return ``floor + (1 - floor) (1 + cos(pi (step - 1) / steps)) / 2``."""
        return float(self.floor + (1 - self.floor) * (1 + np.cos(np.pi * (step - 1) / steps)) / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUp:
    """A linear rise to 1 over the first ``over`` steps, then constant (Goyal et al. 2017).

    >>> WarmUp(over=4).factor(1, 100)
    0.25
    """

    over: int = 100

    def __post_init__(self) -> None:
        require(self.over >= 1, "schedule.over", "must be >= 1", self.over)

    def factor(self, step: int, steps: int) -> float:
        """Return ``min(1, step / over)``."""
        del steps
        return min(1.0, step / self.over)


SCHEDULES: Mapping[str, type[Schedule]] = {
    "constant": Constant,
    "step": StepDecay,
    "exponential": Exponential,
    "cosine": Cosine,
    "warm_up": WarmUp,
}
