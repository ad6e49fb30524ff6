"""The standing of a trial in its sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any

from pipeline.config.settings import key_of, setting_values, used_values, varied_by_repeats
from pipeline.plan.plan import PlannedTrial
from pipeline.results.criterion import Criterion
from pipeline.results.repeats import Repeat, Seeds, Setting, rank
from tasks.events import Outcome


@dataclass(slots=True, kw_only=True)
class Standing:
    """The standing of a trial: its step, the last value of each metric, and its outcome once it has one.

    ``setting`` is the key of its setting and ``seeds`` tell it from other repeats; both follow from the values that the
    trial uses, ``used``.
    """

    trial: PlannedTrial
    criterion: Criterion = field(default_factory=Criterion)
    setting: str = field(init=False)
    seeds: Seeds = field(init=False)
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    started: bool = False
    outcome: Outcome | None = None
    message: str = ""
    used: InitVar[Mapping[str, Any] | None] = None

    def __post_init__(self, used: Mapping[str, Any] | None) -> None:
        used, over = used or used_values(self.trial.trial), self.criterion.over
        self.setting = key_of(used, over)
        self.seeds = tuple((name, str(used[name])) for name in varied_by_repeats(used, over))

    def repeat(self, run_id: str = "") -> Repeat:
        """Return the trial as a repeat of its setting; ``run_id`` is its run."""
        return Repeat(
            seeds=self.seeds,
            outcome=self.outcome_text,
            metrics=self.metrics,
            criterion=self.criterion,
            index=self.index,
            trial=self.trial.name,
            key=self.trial.key,
            run_id=run_id,
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
        """The outcome as text with the step of a rung, empty if it has none yet."""
        if self.outcome is Outcome.STOPPED:
            return f"{self.outcome.value} at step {self.step}"
        return self.outcome.value if self.outcome else ""


def as_setting(name: str, standings: Sequence[Standing], run_ids: Mapping[str, str] | None = None) -> Setting:
    """Return the repeats of a setting as the setting; ``run_ids`` are their runs by key."""
    first, ids = standings[0], run_ids or {}
    return Setting(
        key=first.setting,
        name=name,
        repeats=tuple(sorted((one.repeat(ids.get(one.trial.key, "")) for one in standings), key=rank)),
        used=setting_values(first.trial.trial, first.criterion.over),
    )
