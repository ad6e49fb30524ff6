"""The proposals of a search, in batches that fuse well, until the budget is spent."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from pipeline.background import in_background
from pipeline.config.settings import counted
from pipeline.reports import Searched, Told
from pipeline.search.objectives import Objectives
from pipeline.search.search import Proposal, Search
from pipeline.sweep.source import End
from tasks.errors import require
from tasks.events import Outcome

PROPOSALS_PER_WORKER = 8
"""The proposals for a worker at a time: enough to share most of the arithmetic."""

MIN_BATCHES = 4
"""The least number of batches that a search learns from: with fewer, a test function's minimum loses a digit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many points a search proposes in all, how many are open at most, and how small a batch may be.

    ``workers`` is how many groups are computed at once, as far as is known before the engine starts. While more than
    ``max_failure_rate`` of the trials that have ended have failed, nothing is proposed.
    """

    n_trials: int = 20
    n_jobs: int | None = None
    max_failure_rate: float = 0.0
    workers: int = 1

    def __post_init__(self) -> None:
        require(_whole(self.n_trials), "hydra.sweeper.n_trials", "must be a whole number of at least 1", self.n_trials)
        rule = "must be a whole number of at least 1, or null"
        require(self.n_jobs is None or _whole(self.n_jobs), "hydra.sweeper.n_jobs", rule, self.n_jobs)
        rate = self.max_failure_rate
        share = isinstance(rate, int | float) and 0 <= rate <= 1
        require(share, "hydra.sweeper.max_failure_rate", "must be between 0 and 1", rate)

    @property
    def max_open(self) -> int:
        """The most points that are proposed and have not ended."""
        return self.n_jobs or min(PROPOSALS_PER_WORKER * self.workers, math.ceil(self.n_trials / MIN_BATCHES))

    @property
    def least(self) -> int:
        """The fewest points that are proposed at once, after the sampler has started to learn.

        They are half of a worker's share: fewer fuse badly, and a worker that waits for more is idle.
        """
        return math.ceil(self.max_open / self.workers / 2)


class Proposals:
    """The proposals of a search: they come in batches, so that they can be fused, and new ones follow as groups end.

    ``objectives`` say which of a trial's last metrics the search is told.
    """

    def __init__(self, search: Search, budget: Budget, objectives: Objectives) -> None:
        self.search, self.budget, self._objectives = search, budget, objectives
        self.total = min(budget.n_trials, search.points or budget.n_trials)
        self.ended = 0
        self.failed = 0
        self._records: list[Told] = []
        self._new: set[int] = set()
        self._measured: set[str] = set()
        self._preparing: Future[None] | None = None

    @property
    def identity(self) -> str:
        """The identity of the search, which does not depend on ``n_trials``: a resume may ask for more."""
        return f"{self.search.identity} {self._objectives}"

    @property
    def objectives(self) -> tuple[tuple[str, str], ...]:
        """The direction and the name of each metric that the search needs."""
        pairs = zip(self._objectives.directions, self._objectives.metrics, strict=True)
        return tuple((direction, name) for direction, name in pairs if name is not None)

    @property
    def done(self) -> bool:
        """Whether no more will be proposed: there are enough, or too many have failed, however the others end."""
        return self.search.asked >= self.total or self._are_too_many(of=self.search.asked)

    @property
    def failing(self) -> bool:
        """Whether more trials have failed than may, of those that have ended."""
        return self._are_too_many(of=self.ended)

    def _are_too_many(self, *, of: int) -> bool:
        return self.failed > self.budget.max_failure_rate * of

    @property
    def _open(self) -> int:
        """How many points are proposed and have not ended."""
        return self.search.asked - self.ended

    def scale_to(self, workers: int) -> None:
        """Propose for so many workers from now on, if they are more: a cluster that was joined may be a large one."""
        if workers > self.budget.workers:
            self.budget = dataclasses.replace(self.budget, workers=workers)

    def more(self, room: int) -> list[Proposal]:
        """Return the next points, about ``room`` at most; a search that learns may return none, to wait for ends."""
        if self.done or self.failing:
            return []
        left = self.total - self.search.asked
        if not self.search.learns:
            return self._ask(1 if self.search.first_alone else left)
        if (known := self.search.known) > 0:
            return self._ask(min(known, left))
        # The startup trials are proposed at once.
        first = self.search.startup - self.search.asked
        free = max(first, self.budget.max_open - self._open)
        count = min(left, free, room)
        return self._ask(count) if count >= min(left, self.budget.least, room) else []

    def recall(self, past: Sequence[Mapping[str, str]]) -> None:
        """Repeat the proposals of an earlier process, given by their params: all, even if they are over budget."""
        self.search.recall(past)
        self.total = max(self.total, len(past))

    def tell(self, number: int, end: End) -> None:
        """Tell the search the end of a point.

        Raises
        ------
        ConfigError
            If the search begins to learn now, and no trial has measured its objectives: a user's own task does not
            declare its metrics.
        """
        self.ended += 1
        values = [] if end.outcome is Outcome.FAILED else self._objectives.values(end.metrics)
        finite = all(map(math.isfinite, values))
        self._new.add(number)
        self._measured |= end.metrics.keys()
        self._records[number] = dataclasses.replace(
            self._records[number], outcome=end.outcome.value, values=tuple(values) if finite else ()
        )
        learns_now = self.ended == self.before_learning < self.total
        if learns_now and any(one.outcome == Outcome.COMPLETE.value for one in self._records):
            self._objectives.require_measured(self._measured)
        if end.outcome is Outcome.FAILED:
            self.failed += 1
            self.search.fail(number)
        elif end.outcome is Outcome.COMPLETE and finite:
            self.search.tell(number, values)
        else:
            stopped = end.outcome is Outcome.STOPPED and finite
            self.search.prune(number, end.step, values[0] if stopped else None)
        if self.done and self._preparing is None:
            self._preparing = in_background(self.search.prepare)  # while the last trials are computed

    @property
    def before_learning(self) -> int:
        """How many points are proposed before any has ended."""
        return min(self.total, max(self.search.startup, self.budget.max_open)) if self.search.learns else self.total

    def describe(self, ranked: str) -> str:
        """Return the plan of the search, in a line; ``ranked`` is the metric that ranks the sweep."""
        objectives = zip(self._objectives.directions, self._objectives.names((ranked,)), strict=True)
        what = " and ".join(f"{direction} {name}" for direction, name in objectives)
        how = f"{self.search.sampler}, {counted(self.total, 'proposal')} to {what}"
        if self.before_learning == self.total:
            return f"{how}, all of them at once"
        return f"{how}: {self.before_learning} at first, then others as trials end, {self.budget.max_open} open at most"

    def news(self) -> Searched | None:
        """Return the proposals and ends since the last call, after the last end with the importances of the keys."""
        over = self.done and not self._open
        if not self._new:
            return None
        new, self._new = self._new, set()
        return Searched(
            sampler=self.search.sampler,
            metrics=self._objectives.names(self._measured),
            directions=self._objectives.directions,
            proposals=tuple(self._records[number] for number in sorted(new)),
            importances=self.search.importances() if over else {},
        )

    def _ask(self, count: int) -> list[Proposal]:
        proposals = [self.search.ask() for _ in range(count)]
        self._records += [Told(number=one.number, params=one.params, known=self.ended) for one in proposals]
        self._new |= {one.number for one in proposals}
        return proposals


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
