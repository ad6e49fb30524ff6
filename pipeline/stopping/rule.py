"""The interface of a stopping rule: pure functions from results to the settings that go on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from tasks.errors import ConfigError, require

MetricHistory = Sequence[float]
"""A setting's metric at each of its points up to a rung, larger is better; the last is its score at the rung."""


class Rule(Protocol):
    """A stopping rule: a row of `STOPPING`.

    ``stops`` says that the rule may stop trials. ``synchronous`` says that a setting is compared only with those that
    were proposed together with it, and only once all of them have arrived.
    """

    stops: ClassVar[bool]
    synchronous: ClassVar[bool]

    @property
    def metric(self) -> str | None:
        """The metric that is compared, None for the sweep's."""

    @property
    def mode(self) -> str | None:
        """Which end is best, max or min; None: as for the sweep, or as the name of another metric says."""

    @property
    def min_steps(self) -> int | None:
        """The first rung; None: the first step at which the metric is measured."""

    @property
    def max_steps(self) -> int | None:
        """The step that all rungs are below, None for the steps of the trials."""

    @property
    def brackets(self) -> int:
        """The number of brackets that the settings are dealt to; each bracket decides by itself."""

    def rungs(self, first: int, steps: int, bracket: int) -> tuple[int, ...]:
        """Return the rungs of a bracket: ascending steps from ``first`` on, below ``steps``."""

    def passing(self, arrived: Sequence[MetricHistory], *, complete: bool) -> list[int]:
        """Return the indices of the settings that go on from a rung, of those that have arrived there.

        ``complete`` says that no other will arrive: those that have not passed by then are stopped. A setting that has
        passed once goes on whatever comes later. A history that ends in NaN never passes.
        """


def rungs_of(rule: Rule, first: int, steps: int, bracket: int) -> tuple[int, ...]:
    """Return the rungs of a bracket; raise a `ConfigError` where a rule's answer is none."""
    name = f"{type(rule).__name__}.rungs"
    try:
        rungs = rule.rungs(first, steps, bracket)
    except (Exception, SystemExit) as error:
        given = f"{type(error).__name__}: {error} for {first}, {steps}, {bracket}"
        raise ConfigError(f"{name} must return the rungs of each bracket, got {given}") from error
    whole = isinstance(rungs, Sequence) and all(hasattr(rung, "__index__") for rung in rungs)
    require(whole, name, "must return a sequence of whole numbers", rungs)
    return tuple(rungs)


def passing_of(rule: Rule, arrived: Sequence[MetricHistory], *, complete: bool) -> list[int]:
    """Return the indices that a rule lets pass; raise a `ConfigError` where its answer is none."""
    name = f"{type(rule).__name__}.passing"
    try:
        places = list(rule.passing(arrived, complete=complete))
    except (Exception, SystemExit) as error:
        rule_of = f"{name} must decide whatever has arrived"
        raise ConfigError(f"{rule_of}, got {type(error).__name__}: {error} for {arrived}") from error
    finite = {place for place, history in enumerate(arrived) if not math.isnan(history[-1])}
    # A mask is no list of indices, although Python takes True for 1.
    indices = all(hasattr(place, "__index__") and not isinstance(place, bool) for place in places)
    valid = f"must return indices of histories that do not end in NaN, {sorted(finite)} of {len(arrived)}"
    require(indices and finite.issuperset(places), name, valid, places)
    return places


def best(arrived: Sequence[MetricHistory], count: int) -> list[int]:
    """Return the indices of the ``count`` best by their last number, the earlier of equals first, without NaN.

    >>> best([[0.1], [0.5], [float("nan")], [0.2, 0.5]], 2)
    [1, 3]
    """
    finite = [place for place, history in enumerate(arrived) if not math.isnan(history[-1])]
    return sorted(finite, key=lambda place: (-arrived[place][-1], place))[:count]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparingRule:
    """The fields of every rule that stops trials: the metric that is compared, and the range of the rungs."""

    stops: ClassVar[bool] = True
    synchronous: ClassVar[bool] = True

    metric: str | None = None
    mode: str | None = None
    min_steps: int | None = None
    max_steps: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("min_steps", self.min_steps), ("max_steps", self.max_steps)):
            require(value is None or value >= 1, f"stopping.{name}", "must be >= 1, or null", value)
        require(self.mode in {None, "max", "min"}, "stopping.mode", "must be max or min, or null", self.mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeometricRule(ComparingRule):
    """The fields of a rule whose rungs are a geometric sequence."""

    reduction_factor: int = 3

    def __post_init__(self) -> None:
        ComparingRule.__post_init__(self)
        require(self.reduction_factor >= 2, "stopping.reduction_factor", "must be >= 2", self.reduction_factor)

    def rungs(self, first: int, steps: int, bracket: int) -> tuple[int, ...]:
        """Return the rungs of a bracket (from 0), a geometric sequence; each next bracket begins one rung later.

        >>> GeometricRule(reduction_factor=4).rungs(50, 1000, 0), GeometricRule(reduction_factor=4).rungs(50, 1000, 1)
        ((50, 200, 800), (200, 800))
        """
        powers = (first * self.reduction_factor**power for power in itertools.count(bracket))
        return tuple(itertools.takewhile(lambda rung: rung < steps, powers))


@dataclass(frozen=True, slots=True, kw_only=True)
class BracketedRule(GeometricRule):
    """The fields of a geometric rule with several ``brackets``, to which the settings are dealt in turn."""

    brackets: int = 1

    def __post_init__(self) -> None:
        GeometricRule.__post_init__(self)
        require(self.brackets >= 1, "stopping.brackets", "must be >= 1", self.brackets)
