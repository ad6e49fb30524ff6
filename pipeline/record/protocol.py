"""What a recorder is given and returns: what is known of a sweep, and the entries of a log that are no reports."""

from __future__ import annotations

import bisect
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from pipeline.plan.plan import PlannedTrial
from pipeline.reports import Layout
from pipeline.results.criterion import Criterion
from pipeline.results.curves import Curves
from pipeline.stopping.rung_system import Decision
from tasks.datasets.dataset import Dataset
from tasks.events import Curve, Result

CHECKPOINTS = "checkpoints"
"""The tag of a sweep's parent run that holds the path of its checkpoints."""

FOLDER = "folder"
"""The tag of a run that holds its working folder, to which relative paths in its config refer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What the record holds of a sweep, which may be resumed.

    ``run_id`` is its parent run, with its ``name`` and ``tags``; ``params`` are those of its trials' runs. ``runs``
    maps the keys of the trials that ended and did not fail to their runs, ``names`` the recorder's names of all runs of
    trials; ``unended`` are the runs that have not ended, the parent run last.
    """

    run_id: str
    name: str
    tags: Mapping[str, str]
    params: tuple[Mapping[str, str], ...]
    runs: Mapping[str, str]
    names: Mapping[str, str]
    unended: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumption:
    """What an earlier process has left of a sweep, as its log and its store hold it.

    ``ended`` are the results of trials by key (without arrays), and ``curves`` their curves, ``decisions`` those made
    at rungs, and ``proposals`` the params of a search's points in the batches in which they were made.
    """

    ended: Mapping[str, Result] = field(default_factory=dict)
    curves: dict[str, Curves] = field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    proposals: tuple[Sequence[Mapping[str, str]], ...] = ()

    def in_batches(self, trials: Sequence[PlannedTrial], *, repeats: int) -> list[list[PlannedTrial]]:
        """Return trials in the batches in which their points were proposed: a rung depends on who was there when."""
        ends = list(itertools.accumulate(repeats * len(made) for made in self.proposals))
        batches: defaultdict[int, list[PlannedTrial]] = defaultdict(list)
        for trial in trials:
            batches[bisect.bisect_right(ends, trial.index)].append(trial)
        return [batches[number] for number in sorted(batches)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepHeader:
    """What is known of a sweep before it starts.

    ``key`` identifies the sweep, ``name`` is the parent run's name, ``overrides`` are the sweep's command-line
    overrides, ``trials`` the trials to run, ``tags`` those of the parent run besides its provenance. ``criterion``
    ranks the trials. ``total`` is how many trials a search proposes in all: ``trials`` are its first.
    """

    name: str
    overrides: tuple[str, ...]
    trials: tuple[PlannedTrial, ...]
    tags: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    criterion: Criterion = field(default_factory=Criterion)
    total: int = 0

    @property
    def size(self) -> int:
        """The number of trials, as far as it is known."""
        return max(self.total, len(self.trials))


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where results come from: ``tags`` of every run (git commit, versions, command line, host, ...), and texts.

    These ``attachments`` (the uncommitted diff, the installed versions) are kept, by file name, with the sweep's run,
    or that of a lone trial.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    attachments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The description of a data set.

    ``kind`` is the type of the numbers of an example; ``train``, ``validation`` and ``test`` count examples.
    """

    name: str
    digest: str
    kind: str
    image_shape: tuple[int, ...]
    classes: tuple[str, ...]
    train: int
    validation: int
    test: int

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Return the description of a data set."""
        return cls(
            name=dataset.name,
            digest=dataset.digest,
            kind=dataset.train.images.dtype.name,
            image_shape=tuple(map(int, dataset.image_shape)),
            classes=tuple(map(str, dataset.classes)),
            train=len(dataset.train),
            validation=len(dataset.validation),
            test=len(dataset.test),
        )

    def __str__(self) -> str:
        examples = f"{self.train} training, {self.validation} validation and {self.test} test examples"
        return f"{self.name}, {examples}, digest `{self.digest[:12]}`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A record was opened: the first entry of a log, and one of each process that resumes its sweep.

    ``log`` identifies the log. ``uri`` is the store's address without credentials. ``parent`` is the
    recorder's name of the sweep's parent run. For a lone trial ``parent`` is empty and ``sweep`` is None.
    ``provenance`` is that of what is computed from here on. Where a sweep is resumed, the trials that were running were
    killed.
    """

    log: str
    uri: str
    experiment: str
    parent: str
    sweep: SweepHeader | None
    data: Data
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A trial that ended before this log began, or in its damaged part, as it was read from its run in the store."""

    trial: PlannedTrial
    run_id: str
    curves: tuple[Curve, ...]
    result: Result
    layout: Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Drew:
    """Figures were drawn of ``trial``, or of the sweep if that is None: ``files`` by name."""

    trial: PlannedTrial | None
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trial becomes a version of the registered model ``name``, with these layers and arrays.

    ``layers`` is JSON and ``arrays`` an npz file; ``step`` is the training step of the weights, ``signature`` describes
    what the model takes and returns, and ``about`` says why the sweep registers this trial.
    """

    trial: PlannedTrial
    name: str
    step: int
    signature: Mapping[str, str]
    layers: str
    arrays: bytes
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The record was closed with ``status``: FINISHED, FAILED or KILLED."""

    status: str
