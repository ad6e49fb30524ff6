"""What a recorder is: the one that writes a sweep and its trials down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.plan.plan import PlannedTrial
from pipeline.reports import Layout
from tasks.datasets.dataset import Dataset
from tasks.events import Curve, Result

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
    """

    name: str
    overrides: tuple[str, ...]
    trials: tuple[PlannedTrial, ...]
    provenance: Mapping[str, str]
    attachments: Mapping[str, str]
    key: str = ""
    past: Past | None = None


class Recorder(Protocol):
    """Writes a sweep down.

    `open` reaches the store before it returns; the other calls, which may come while it has not, return at once
    and never raise: the writing happens in the background, in order. `close`, which may come once it has, waits
    for it. A lone trial is recorded the same way, without a parent: ``sweep`` is then None. A point that comes
    twice (from a retried group) is written once.
    """

    def open(self, sweep: SweepHeader | None, dataset: Dataset) -> None:
        """Reach the store and start the sweep's parent run, or raise a `RecordError`."""

    def start(self, trial: PlannedTrial, provenance: Mapping[str, str], attachments: Mapping[str, str]) -> None:
        """Start the run of a trial; a second start of the same trial changes nothing."""

    def reuse(self, trial: PlannedTrial, run_id: str) -> None:
        """Take the run of a trial that ended in an earlier process for the trial's own."""

    def retry(self, trial: PlannedTrial, attempt: int, error: str) -> None:
        """Write down that a started trial is computed again, for the ``attempt``-th time, after an error."""

    def points(self, trial: PlannedTrial, curve: Curve) -> None:
        """Write a block of points of the trial's curves."""

    def finish(self, trial: PlannedTrial, result: Result, layout: Layout) -> None:
        """Write the end of a trial: its result, its arrays and figures."""

    def fail(self, trial: PlannedTrial, error: str, traceback: str) -> None:
        """Write down that a trial raised, or was lost with its worker."""

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


class MemoryRecorder:
    """Keeps the record in memory: for tests, and to measure what recording costs."""

    def __init__(self) -> None:
        self.curves: dict[str, list[Curve]] = {}
        self.results: dict[str, Result] = {}
        self.layouts: dict[str, Layout] = {}
        self.failures: dict[str, str] = {}
        self.attempts: dict[str, int] = {}
        self.status: str | None = None

    def open(self, sweep: SweepHeader | None, dataset: Dataset) -> None:
        """Start with an empty record."""

    def start(
        self,
        trial: PlannedTrial,
        provenance: Mapping[str, str],  # noqa: ARG002  # kept in the memory of the process anyway
        attachments: Mapping[str, str],  # noqa: ARG002
    ) -> None:
        """Start the trial's list of points."""
        self.curves.setdefault(trial.key, [])

    def reuse(self, trial: PlannedTrial, run_id: str) -> None:
        """Know nothing of earlier processes."""

    def retry(self, trial: PlannedTrial, attempt: int, error: str) -> None:  # noqa: ARG002
        """Keep the number of attempts."""
        self.attempts[trial.key] = attempt

    def points(self, trial: PlannedTrial, curve: Curve) -> None:
        """Append a block of points."""
        self.curves[trial.key].append(curve)

    def finish(self, trial: PlannedTrial, result: Result, layout: Layout) -> None:
        """Keep the result."""
        self.results[trial.key] = result
        self.layouts[trial.key] = layout

    def fail(self, trial: PlannedTrial, error: str, traceback: str) -> None:
        """Keep the error."""
        self.failures[trial.key] = f"{error}\n{traceback}"

    def close(self, status: str) -> None:
        """Keep the status."""
        self.status = status

    def hurry(self) -> None:
        """Wait for nothing anyway."""

    def run_id(self, trial: PlannedTrial) -> str | None:
        """Return the trial's key."""
        return trial.key

    def how_to_look(self) -> str:
        """Return nothing: this record cannot be opened."""
        return ""
