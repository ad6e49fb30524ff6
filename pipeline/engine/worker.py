"""A worker: it computes a group with one BLAS thread, and yields its messages in batches."""

from __future__ import annotations

import itertools
import math
import pickle
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.engine.blas import blas
from pipeline.engine.machine import version_of
from pipeline.engine.output_capture import OutputCapture
from pipeline.raised import Raised, is_from_outside
from tasks.arrays.devices import array_for
from tasks.datasets.dataset import Dataset
from tasks.events import Checkpoint, Curve, Event
from tasks.trial import Trial

BATCH_EVERY = 0.3
"""Seconds between two batches: short enough to watch, and long enough to cost nothing."""

CHECKPOINT_EVERY = 2.0
"""The least seconds between two checkpoints: about what a fault costs, and long compared with writing one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStarted:
    """A message: the group has started, on this host and device, with so many threads and this BLAS.

    ``versions`` are those of the libraries that are of other versions than the driver's.
    """

    host: str
    device: str
    threads: int
    blas: str
    versions: tuple[tuple[str, str], ...] = ()


Message = GroupStarted | str | tuple[Event, ...]
"""What a group yields; a text is what its own code has printed and logged since the last one."""


class Worker:
    """A process that computes one group after another; its device and the images on it serve all of them.

    ``versions`` are those of the driver's libraries.
    """

    def __init__(self, device: str, versions: Mapping[str, str]) -> None:
        self._device = device
        self._versions = other_versions(versions)
        self._dataset: Dataset | None = None

    def compute(self, trials: bytes, dataset: Dataset, **options: Any) -> Iterator[Message | Raised]:
        """Compute a group, with the options of `compute`; the data set is the same for all groups of a sweep.

        The trials are pickled, and read here, since that imports their rows' own code, which may raise or hang. A first
        message without events says that the data are there: from then on a group's time counts.
        """
        try:
            if self._dataset is None:
                self._dataset = dataset.on(array_for(self._device))
            yield ()
            group = pickle.loads(trials)  # noqa: S301  # from the driver
            for message in compute(group, self._dataset, device=self._device, versions=self._versions, **options):
                yield message.as_data() if isinstance(message, Raised) else message
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # what a row raises is a failure of its group
            # A worker is never interrupted: the trial's own code has raised it. Ray would take it for a cancellation.
            yield Raised.of(error).as_data()


def other_versions(versions: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the names and versions of the libraries that are installed here, but not in ``versions``."""
    here = {name: found for name in versions if (found := version_of(name))}
    return tuple((name, found) for name, found in here.items() if found != versions[name])


def compute(
    trials: Sequence[Trial],
    dataset: Dataset,
    *,
    threads: int,
    start: Checkpoint | None = None,
    checkpoint_every: int | None = None,
    until: int | None = None,
    device: str = "cpu",
    versions: tuple[tuple[str, str], ...] = (),
) -> Iterator[Message | Raised]:
    """Compute a fused group on a device and yield its messages, events in batches of `BATCH_EVERY` seconds.

    The group goes on from ``start`` to ``until``, if they are given; its first event is yielded at once. It makes a
    checkpoint every ``checkpoint_every`` steps (None: never), at most one in `CHECKPOINT_EVERY` seconds.

    BLAS gets one thread whatever ``threads`` is, since a product's bits depend on its threads; the task itself
    distributes blocks over ``threads`` threads.
    """
    with threadpool_limits(1, user_api="blas"):
        host = platform.node()
        yield GroupStarted(host=host, device=device, threads=threads, blas=blas()[0], versions=versions)
        capture = OutputCapture()
        pause_at = {} if until is None else {"until": until}  # only a task that trains takes it
        try:
            events = trials[0].task.run(
                trials,
                dataset,
                threads=threads,
                start=start,
                checkpoint_every=checkpoint_every,
                like=array_for(device),
                **pause_at,
            )
            for batch in _batches(capture.follow(events)):
                yield from _output(capture)
                yield batch
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # whatever a trial raises is a failure of its group
            if is_from_outside(error):
                raise
            yield from _output(capture)
            yield Raised.of(error)


def _output(capture: OutputCapture) -> Iterator[str]:
    """Yield the output so far, if any: it comes before the batch, which may end a trial."""
    if text := capture.drain():
        yield text


def _batches(events: Iterator[Event]) -> Iterator[tuple[Event, ...]]:
    batch: list[Event] = []
    last, kept = -math.inf, time.monotonic()  # the first event is yielded at once, to show that the group has started
    try:
        for event in events:
            checkpoint = isinstance(event, Checkpoint)
            if checkpoint and time.monotonic() - kept < CHECKPOINT_EVERY:
                continue
            batch.append(event)
            if checkpoint:
                kept = time.monotonic()
            if checkpoint or time.monotonic() - last >= BATCH_EVERY:
                yield _joined(batch)
                batch, last = [], time.monotonic()
    except (Exception, SystemExit, KeyboardInterrupt):
        # The events before the failure are yielded first.
        if batch:
            yield _joined(batch)
        raise
    if batch:
        yield _joined(batch)


def _joined(events: Sequence[Event]) -> tuple[Event, ...]:
    """Return the events, with consecutive points of a trial in one block: a task may report them one by one."""
    joined: list[Event] = []
    for kind, alike in itertools.groupby(events, _kind):
        blocks: list[Any] = list(alike)
        steps = np.concatenate([block.steps for block in blocks]) if kind and len(blocks) > 1 else np.zeros(0)
        if not len(steps) or (np.diff(steps) <= 0).any():
            joined += blocks
            continue
        metrics = {name: np.concatenate([block.metrics[name] for block in blocks]) for name in blocks[0].metrics}
        joined.append(Curve(trial=blocks[0].trial, steps=steps, metrics=metrics))
    return tuple(joined)


def _kind(event: Event) -> tuple[object, ...]:
    """Return what points have in common that can be in one block; nothing of other events."""
    return (event.trial, *event.metrics) if isinstance(event, Curve) else ()
