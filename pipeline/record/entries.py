"""The entries of a log other than reports: its record is opened, resumed and closed; figures and models are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pipeline.plan.plan import PlannedTrial
from pipeline.record.protocol import Provenance, SweepHeader
from pipeline.reports import Layout
from pipeline.results.criterion import Criterion
from tasks.datasets.dataset import Dataset
from tasks.events import Curve, Result


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A record was opened: the first entry of a log.

    ``log`` identifies the log. ``uri`` is the store's address without credentials. ``parent`` is the id of the
    sweep's parent run. For a lone trial ``parent`` is empty and ``sweep`` is None.
    """

    log: str
    uri: str
    experiment: str
    parent: str
    sweep: SweepHeader | None
    data: Data
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """Another process has resumed the sweep, with its own provenance; the trials that were running were killed.

    ``uri`` is the store's present address without credentials.
    """

    uri: str
    sweep: SweepHeader
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

    ``layers`` is JSON and ``arrays`` an npz file; ``step`` is the training step of the weights, and ``about`` says why
    the sweep registers this trial.
    """

    trial: PlannedTrial
    name: str
    step: int
    image_shape: tuple[int, ...]
    layers: str
    arrays: bytes
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The record was closed with ``status``: FINISHED, FAILED or KILLED."""

    status: str


def ranked_by(entry: object, criterion: Criterion) -> object:
    """Return an entry with this criterion: a process that resumes a sweep may rank its trials by another one."""
    if isinstance(entry, Opened | Resumed) and entry.sweep is not None:
        return dataclasses.replace(entry, sweep=dataclasses.replace(entry.sweep, criterion=criterion))
    return entry
