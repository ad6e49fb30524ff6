"""What a recorder is: the one that writes a sweep and its trials down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from pipeline.plan.plan import PlannedTrial
from pipeline.reports import RecordedReport
from pipeline.results.criterion import Criterion
from tasks.datasets.dataset import Dataset
from tasks.events import Result

CLOCKED = "wall_clock/"
"""What metrics begin with that depend on the clock, and so are no part of what a trial computed."""

CHECKPOINTS = "checkpoints"
"""The tag of a sweep's parent run that says where its checkpoints are."""

FOLDER = "folder"
"""The tag of a run that says which folder its command was run in, where relative paths in its config begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One recorded curve: steps int64 ``(P,)`` ascending, values float64 ``(P,)``."""

    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What the record holds of a sweep that is resumed.

    ``run_id`` is its parent run with its ``tags``, ``ended`` maps the keys of the trials that ended by
    themselves to their runs and results (without arrays), ``orphans`` are runs that nobody will end.
    """

    run_id: str
    tags: Mapping[str, str]
    ended: Mapping[str, tuple[str, Result]]
    orphans: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherSweep:
    """What the record holds of a sweep that is not the one asked for.

    ``tags`` are those of its parent run, ``params`` the params of its trials' runs, ``unended`` its runs that have not
    ended, the parent run last.
    """

    run_id: str
    name: str
    tags: Mapping[str, str]
    params: tuple[Mapping[str, str], ...]
    unended: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepHeader:
    """What is known of a sweep before it starts.

    ``key`` identifies the sweep, ``name`` is the parent run's name, ``overrides`` are the sweep's command-line
    overrides, ``trials`` the trials that it is going to run, ``provenance`` maps tag names to texts (git commit,
    versions, command line, host, ...), ``attachments`` maps file names to texts kept as artifacts (the
    uncommitted diff, the installed versions). With a ``past`` its parent run goes on, and no other is made.
    ``criterion`` ranks the trials.
    """

    name: str
    overrides: tuple[str, ...]
    trials: tuple[PlannedTrial, ...]
    provenance: Mapping[str, str]
    attachments: Mapping[str, str]
    key: str = ""
    past: Past | None = None
    criterion: Criterion = field(default_factory=Criterion)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What the run of every trial is tagged with, and the texts kept with each."""

    tags: Mapping[str, str] = field(default_factory=dict)
    attachments: Mapping[str, str] = field(default_factory=dict)


class Recorder(Protocol):
    """Writes a sweep down.

    `open` reaches the store before it returns; `take`, which may be called while it has not, returns at once and never
    raises: the writing happens in the background, in order. `close`, which may come once it has, waits for it. A lone
    trial is recorded the same way, without a parent: ``sweep`` is then None.
    """

    def open(self, sweep: SweepHeader | None, dataset: Dataset, provenance: Provenance) -> Past | None:
        """Reach the store and start the sweep's parent run, or raise a `RecordError`.

        Of a sweep that is resumed return what is known of it: more than the store says, where the log is ahead of it.
        """

    def take(self, report: RecordedReport) -> None:
        """Write a report down; a trial is started once, and a point that comes twice is written once."""

    def close(self, status: str) -> None:
        """Write the result table, end the parent run as FINISHED, FAILED or KILLED, and flush everything.

        A trial that has started and not ended is ended as KILLED.

        Raises
        ------
        RecordError
            If anything, now or before, could not be written.
        """

    def hurry(self) -> None:
        """Have `close` wait no longer for a store that does not answer; one that does still gets the rest."""

    def run_id(self, trial: PlannedTrial) -> str | None:
        """Return the store's name for the trial's run, where it has one already."""

    def how_to_look(self) -> str:
        """Return the exact command line that opens the record, followed by a link to it where there is one."""
