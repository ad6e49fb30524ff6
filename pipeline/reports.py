"""Reports: what an engine says of the trials that it computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.plan.plan import PlannedTrial, Progress
from pipeline.raised import Raised
from pipeline.stopping.rung_system import Decision
from tasks.events import Curve, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How the arithmetic of a trial was laid out: what its bits depend on beside its config."""

    width: int
    slot: int
    threads: int
    host: str
    device: str
    blas: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A trial has begun on ``host``, at ``step``: 0, or where an earlier process left it."""

    trial: PlannedTrial
    host: str = ""
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """A trial has new points."""

    trial: PlannedTrial
    curve: Curve


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A trial has ended by itself (complete, diverged or stopped)."""

    trial: PlannedTrial
    result: Result
    layout: Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A trial raised, took too long, or was lost with its worker in every attempt."""

    trial: PlannedTrial
    error: str
    traceback: str
    raised: Raised | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """Trials are computed again after ``error``: their ``attempt`` (from 1), from ``step``, in ``parts`` groups.

    ``alone`` says of a trial that is computed alone because its worker was lost which of how many such attempts it is,
    ``raised`` whether it was the computation that raised the error.
    """

    trials: tuple[PlannedTrial, ...]
    attempt: int
    step: int
    parts: int
    error: str
    alone: tuple[int, int] | None = None
    raised: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpointed:
    """Trials have come so far together, and can go on from there."""

    trials: tuple[PlannedTrial, ...]
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """Trials are going to be computed, beside those that the sweep began with."""

    trials: tuple[PlannedTrial, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured of the sweep itself."""

    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What was decided at a rung, and on what; ``names`` are those of the settings, ``metric`` what was compared.

    Scores in the decision are the metric times ``sign``, so that more is better.
    """

    decision: Decision
    names: Mapping[str, str]
    metric: str
    sign: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """Trials have come to the step that their group was to go to, and can go on from there."""

    trials: tuple[PlannedTrial, ...]
    progress: Progress
    layouts: tuple[Layout, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """A trial's own code, or that of a group that it is computed in, has printed or logged a text."""

    trial: PlannedTrial
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A proposal of a search: its number, which is its trial's index, its ``params``, and what it came to.

    ``known`` is how many ends the search knew of when it made it. Without an ``outcome`` it has not ended; ``values``
    are of the metrics that are searched for, none where they are not known.
    """

    number: int
    params: Mapping[str, str]
    known: int
    outcome: str = ""
    values: tuple[float, ...] = ()

    @property
    def overrides(self) -> list[str]:
        """The parameters as overrides."""
        return [f"{name}={text}" for name, text in self.params.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What a search has proposed, and what it was told of it, as far as it is new.

    ``metrics`` are searched for in their ``directions``; ``importances`` are the keys' shares in the variance of the
    values, the largest first, none while they are not known.
    """

    sampler: str
    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    proposals: tuple[Told, ...]
    importances: Mapping[str, float]

    def after(self, before: Searched | None) -> Searched:
        """Return this, with what was told ``before`` of other proposals."""
        known = {told.number: told for told in (before.proposals if before else ())}
        known |= {told.number: told for told in self.proposals}
        return dataclasses.replace(self, proposals=tuple(known[number] for number in sorted(known)))


TrialReport = Started | Progressed | Finished | Failed | Printed
RecordedReport = TrialReport | Retried | Planned | Decided | Measured | Searched
Report = RecordedReport | Checkpointed | Paused
