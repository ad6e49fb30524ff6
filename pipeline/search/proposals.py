"""A search as a sweep asks it: so many proposals at a time as fuse well, until there are enough of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.reports import Searched, Told
from pipeline.search.objectives import Objectives
from pipeline.search.search import Proposal, Search
from pipeline.sweep.source import End
from tasks.errors import require
from tasks.events import Outcome

FUSED = 8
"""How many proposals are made for a worker at once: enough to share most of the arithmetic."""

ROUNDS = 4
"""How often a search learns at least: of a test function's 64 proposals, more than 16 at once cost it a digit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many points a search proposes in all, how many are open at most, and in how large batches.

    More than ``max_failure_rate`` of the trials may not fail: then nothing more is proposed.
    """

    n_trials: int = 20
    n_jobs: int | None = None
    max_failure_rate: float = 0.0
    workers: int = 1

    def __post_init__(self) -> None:
        require(_whole(self.n_trials), "hydra.sweeper.n_trials", "must be a whole number of at least 1", self.n_trials)
        told = "must be a whole number of at least 1, or null"
        require(self.n_jobs is None or _whole(self.n_jobs), "hydra.sweeper.n_jobs", told, self.n_jobs)
        rate = self.max_failure_rate
        share = isinstance(rate, int | float) and 0 <= rate <= 1
        require(share, "hydra.sweeper.max_failure_rate", "must be between 0 and 1", rate)

    @property
    def most(self) -> int:
        """How many points are open at most."""
        return self.n_jobs or min(FUSED * self.workers, math.ceil(self.n_trials / ROUNDS))

    @property
    def batch(self) -> int:
        """How many points are proposed at once, once a sampler learns."""
        return math.ceil(self.most / self.workers)


class Proposals:
    """The proposals of a search: points that differ in what fuses come together, and are made up for as groups end.

    ``objectives`` say which of the last metrics of a trial the search is told.
    """

    def __init__(self, search: Search, budget: Budget, objectives: Objectives) -> None:
        self.search, self.budget, self._objectives = search, budget, objectives
        self.total = min(budget.n_trials, search.points or budget.n_trials)
        self.ended = 0
        self.failed = 0
        self._told: list[Told] = []
        self._new: set[int] = set()

    @property
    def identity(self) -> str:
        """What tells this search from others; it may be resumed with more trials, and go on."""
        return f"{self.search.identity} {self._objectives}"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that must be measured."""
        return tuple(name for name in self._objectives.metrics if name is not None)

    @property
    def done(self) -> bool:
        """Whether no more will come."""
        failing = self.failed > self.budget.max_failure_rate * max(1, self.ended)
        return failing or self.search.asked >= self.total

    def more(self, room: int) -> list[Proposal]:
        """Return the next points, about ``room`` of them at most; a search that learns may have to wait for ends."""
        left = self.total - self.search.asked
        if self.done or left <= 0:
            return []
        if not self.search.learns:
            return self._ask(left)
        if (known := self.search.known) > 0:
            return self._ask(min(known, left))
        # What comes before the first lesson comes at once.
        first = self.search.startup - self.search.asked
        free = max(first, self.budget.most - self.search.open)
        count = min(left, free, max(room, 1))
        whole = count >= min(left, self.budget.batch, max(room, 1)) or self.search.open == 0
        return self._ask(count) if whole else []

    def tell(self, number: int, end: End) -> None:
        """Take in how a point ended."""
        self.ended += 1
        values = [] if end.outcome is Outcome.FAILED else self._objectives.values(end.metrics)
        finite = bool(values) and all(map(math.isfinite, values))
        self._new.add(number)
        self._told[number] = dataclasses.replace(
            self._told[number], outcome=end.outcome.value, values=tuple(values) if finite else ()
        )
        if end.outcome is Outcome.FAILED:
            self.failed += 1
            self.search.fail(number)
        elif end.outcome is Outcome.COMPLETE and finite:
            self.search.tell(number, values)
        else:
            stopped = end.outcome is Outcome.STOPPED and finite
            self.search.prune(number, end.step, values[0] if stopped else None)

    @property
    def first(self) -> int:
        """How many are made before anything is known."""
        return min(self.total, max(self.search.startup, self.budget.most)) if self.search.learns else self.total

    def describe(self) -> str:
        """Return what the search is going to do, in a line."""
        what = " and ".join(f"{d} {name}" for name, d in zip(*self._names(), strict=True))
        how = f"{self.search.sampler}, {self.total} proposals to {what}"
        if not self.search.learns:
            return f"{how}, all of them at once"
        return f"{how}: the {self.first} planned here first, then as trials end, {self.budget.most} open at most"

    def _names(self) -> tuple[Sequence[str], Sequence[str]]:
        return self._objectives.names, self._objectives.directions

    def news(self) -> Searched | None:
        """Return what was proposed and told since the last time, at the end with what the search made of it all."""
        over = self.done and not self.search.open
        if not self._new:
            return None
        new, self._new = self._new, set()
        return Searched(
            sampler=self.search.sampler,
            metrics=self._objectives.names,
            directions=self._objectives.directions,
            proposals=tuple(self._told[number] for number in sorted(new)),
            importances=self.search.importances() if over else {},
        )

    def _ask(self, count: int) -> list[Proposal]:
        proposals = [self.search.ask() for _ in range(count)]
        self._told += [Told(number=one.number, params=one.params, known=self.ended) for one in proposals]
        self._new |= {one.number for one in proposals}
        return proposals


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
