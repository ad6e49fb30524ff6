"""The standing of a trial: in a sweep that runs, and as a repeat of its setting."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.config.settings import setting_key, used_values, varied_by_repeats
from pipeline.plan.plan import PlannedTrial
from pipeline.results.criterion import Criterion
from pipeline.results.numbers import number
from tasks.events import Outcome

COMPLETE, STOPPED = Outcome.COMPLETE.value, Outcome.STOPPED.value
DIVERGED, FAILED = Outcome.DIVERGED.value, Outcome.FAILED.value
_WITHOUT_ANSWER = frozenset({DIVERGED, FAILED})
_ENDED = frozenset({COMPLETE, "finished"})  # as older records have it

Seeds = tuple[tuple[str, str], ...]
"""The identity of a repeat within its setting: the keys that vary, and their values as texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A trial as a repeat of its setting: its seeds, its outcome as text with a ``message``, and its last metrics.

    ``index`` is its index in the sweep, ``trial`` its name and ``key`` its key, ``run_id`` the id of its run, if it has
    one. ``stopped_at`` is the step of the rung at which it was stopped, infinite if it was not.
    """

    seeds: Seeds
    outcome: str
    metrics: Mapping[str, float]
    criterion: Criterion
    index: int
    trial: str = ""
    key: str = ""
    run_id: str = ""
    stopped_at: float = math.inf
    message: str = ""

    @property
    def ending(self) -> str:
        """The outcome as text, with the step of a rung."""
        return f"{self.outcome} at step {number(self.stopped_at, 6)}" if self.outcome == STOPPED else self.outcome

    @property
    def ended(self) -> bool:
        """Whether it ran to its end, so that its metrics are those of its last step."""
        return self.outcome in _ENDED

    @property
    def counts(self) -> bool:
        """Whether its metrics count: those of a trial that diverged or failed do not."""
        return self.outcome not in _WITHOUT_ANSWER

    @property
    def score(self) -> float:
        """The score, larger is better, minus infinity if its metrics do not count."""
        return self.criterion.score(self.metrics) if self.counts else -math.inf

    @property
    def diverged(self) -> bool:
        """Whether it has diverged."""
        return self.outcome == DIVERGED


@dataclass(slots=True, kw_only=True)
class Standing:
    """The standing of a trial: its step, the last value of each metric, and its outcome once it has one.

    ``used`` are the values that it uses; ``setting`` is the key of its setting and ``seeds`` tell it from other
    repeats, which both follow from them. ``run_id`` is its run, if it has one.
    """

    trial: PlannedTrial
    criterion: Criterion = field(default_factory=Criterion)
    used: Mapping[str, Any] = field(init=False)
    setting: str = field(init=False)
    seeds: Seeds = field(init=False)
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    started: bool = False
    outcome: Outcome | None = None
    message: str = ""
    run_id: str = ""

    def __post_init__(self) -> None:
        self.used, over = used_values(self.trial.trial), self.criterion.over
        self.setting = setting_key(self.used, over)
        self.seeds = tuple((name, str(self.used[name])) for name in varied_by_repeats(self.used, over))

    def repeat(self) -> Repeat:
        """Return the trial as a repeat of its setting."""
        return Repeat(
            seeds=self.seeds,
            outcome=self.outcome_text,
            metrics=self.metrics,
            criterion=self.criterion,
            index=self.index,
            trial=self.trial.name,
            key=self.trial.key,
            run_id=self.run_id,
            stopped_at=self.stopped_at,
        )

    @property
    def score(self) -> float:
        """The score of the trial, larger is better, minus infinity without the metric.

        It is minus infinity for a trial that diverged or failed, which is never the best.
        """
        return -math.inf if self.outcome in (Outcome.DIVERGED, Outcome.FAILED) else self.criterion.score(self.metrics)

    @property
    def value(self) -> float:
        """The value of the metric that ranks; the worst possible value if there is none."""
        return self.criterion.sign * self.score

    @property
    def index(self) -> int:
        """The index of the trial."""
        return self.trial.index

    @property
    def diverged(self) -> bool:
        """Whether it has diverged."""
        return self.outcome is Outcome.DIVERGED

    @property
    def stopped_at(self) -> float:
        """The step of the rung at which it was stopped, infinite if it was not."""
        return self.step if self.outcome is Outcome.STOPPED else math.inf

    @property
    def outcome_text(self) -> str:
        """The outcome as text."""
        return self.outcome.value if self.outcome else "not finished"

    @property
    def ending(self) -> str:
        """The outcome as text, with the step of a rung."""
        return f"{self.outcome_text} at step {self.step}" if self.outcome is Outcome.STOPPED else self.outcome_text
