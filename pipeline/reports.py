"""Reports: the messages of an engine about its trials, and of the sweep about itself."""

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
    """The layout of a trial's arithmetic: everything besides its config that its bits may depend on.

    ``versions`` are those of the worker's libraries that differ from the driver's.
    """

    width: int
    slot: int
    threads: int
    host: str
    device: str
    blas: str
    versions: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A trial has started on ``host``, at ``step``: 0, or that of an earlier process's checkpoint."""

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
    """A trial has failed: it raised an error, took too long, or lost its worker in every attempt."""

    trial: PlannedTrial
    error: str
    traceback: str
    raised: Raised | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """Trials are retried after ``error``: their ``attempt`` (from 1), from ``step``, in ``parts`` groups.

    For a trial that is retried alone because its worker was lost, ``alone`` is the number of this attempt and the most
    attempts. ``raised`` says that the computation itself raised the error.
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
    """Trials have a new checkpoint, from which they can go on."""

    trials: tuple[PlannedTrial, ...]
    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """Trials have been added to those that the sweep began with."""

    trials: tuple[PlannedTrial, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Metrics of the sweep itself."""

    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A decision at a rung, with the ``names`` of the settings and the ``metric`` that was compared.

    Scores in the decision are the metric times ``sign``, so that larger is better.
    """

    decision: Decision
    names: Mapping[str, str]
    metric: str
    sign: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """Trials have paused at the step that their group was to pause at, and can go on from their ``progress``."""

    trials: tuple[PlannedTrial, ...]
    progress: Progress
    layouts: tuple[Layout, ...]

    def each(self) -> list[Paused]:
        """Return the trials one by one, whose curves have been reported."""
        progress = dataclasses.replace(self.progress, reported=True)
        return [
            Paused(trials=(trial,), progress=progress.of_trials([slot]), layouts=(layout,))
            for slot, (trial, layout) in enumerate(zip(self.trials, self.layouts, strict=True))
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A line for the person who looks at the sweep; it is not recorded."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """A trial's code, or that of its group, has printed or logged a text."""

    trial: PlannedTrial
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A proposal of a search: its number, which is its trial's index, its ``params``, and its result.

    ``known`` is how many trials had ended when it was made. It has no ``outcome`` until it has ended; ``values`` are
    those of the search's metrics, empty if they are not known.
    """

    number: int
    params: Mapping[str, str]
    known: int
    outcome: str = ""
    values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """The new proposals of a search, and the new results of earlier ones.

    ``metrics`` are the search's, with their ``directions``; ``importances`` are the keys' shares in the variance of the
    values, the largest first, empty while they are not known.
    """

    sampler: str
    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    proposals: tuple[Told, ...]
    importances: Mapping[str, float]

    def after(self, before: Searched | None) -> Searched:
        """Return this, merged with the proposals of ``before``; a resume does not know when these were made."""
        earlier = {proposal.number: proposal for proposal in (before.proposals if before else ())}
        new = {one.number: dataclasses.replace(one, known=earlier.get(one.number, one).known) for one in self.proposals}
        merged = earlier | new
        return dataclasses.replace(self, proposals=tuple(merged[number] for number in sorted(merged)))


TrialReport = Started | Progressed | Finished | Failed | Printed
RecordedReport = TrialReport | Retried | Planned | Decided | Measured | Searched
Report = RecordedReport | Checkpointed | Paused | Notice
