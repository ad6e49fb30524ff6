"""What a log holds beside the reports of trials: how its record began, went on and ended, and what was made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pipeline.plan.plan import PlannedTrial
from pipeline.record.protocol import Provenance, SweepHeader
from pipeline.reports import Layout
from tasks.datasets.dataset import Dataset
from tasks.events import Curve, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What a record tells of its data set.

    ``kind`` is the type of the numbers of an example, ``train``, ``validation`` and ``test`` are numbers of examples.
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
        """Return what is told of a data set."""
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
    """A record begins: the first entry of a log.

    ``log`` tells this log from all others. ``uri`` is the store's address without credentials, ``parent`` the sweep's
    run, empty for a lone trial, whose ``sweep`` is None.
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
    """Another process goes on with the sweep, with a provenance of its own; what was running has been killed.

    ``uri`` is where its store is now, without credentials.
    """

    uri: str
    sweep: SweepHeader
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A trial has ended before this log began, or behind a damage of it: what its run in the store holds."""

    trial: PlannedTrial
    run_id: str
    curves: tuple[Curve, ...]
    result: Result
    layout: Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Drew:
    """Figures were drawn, of a trial or, where that is None, of the sweep: files by name."""

    trial: PlannedTrial | None
    files: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trial is to become a version of the registered model ``name``: what its classifier computes with.

    ``layers`` is JSON and ``arrays`` an npz file; ``step`` is the step of the training that it comes from, and
    ``about`` says what it is of the sweep.
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
    """The record has ended as ``status``: FINISHED, FAILED or KILLED."""

    status: str
