"""What a worker does with a group: compute it with one BLAS thread, and say what happens in batches."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from pipeline.engine.blas import blas
from pipeline.engine.said import Listener
from pipeline.raised import Raised, is_from_outside
from tasks.arrays.devices import array_for
from tasks.datasets.dataset import Dataset
from tasks.events import Checkpoint, Event
from tasks.trial import Trial

EVERY = 0.3
"""Seconds between two batches: soon enough to watch, and few enough that they cost nothing."""

CHECKPOINT_EVERY = 2.0
"""Seconds between two checkpoints: what a fault may cost, and long beside the time that keeping one takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """The group has begun, on this host with this BLAS."""

    host: str
    blas: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the group's own code has printed and logged since it was last told of."""

    text: str


Message = Begun | Raised | Said | tuple[Event, ...]


class Worker:
    """A process that computes one group after another; its device and the images on it serve all of them."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._dataset: Dataset | None = None

    def compute(
        self,
        trials: Sequence[Trial],
        dataset: Dataset,
        *,
        threads: int,
        start: Checkpoint | None,
        checkpoint_every: int | None,
        until: int | None,
    ) -> Iterator[Message]:
        """Compute a group of a sweep, whose data set is the same for all its groups; see `compute`."""
        try:
            if self._dataset is None:
                self._dataset = dataset.on(array_for(self._device))
        except Exception as error:  # noqa: BLE001  # a device that cannot be had is a failure of its group
            yield Raised.of(error).as_data()
            return
        messages = compute(
            trials,
            self._dataset,
            threads=threads,
            start=start,
            checkpoint_every=checkpoint_every,
            until=until,
            device=self._device,
        )
        try:
            for message in messages:
                yield message.as_data() if isinstance(message, Raised) else message
        except KeyboardInterrupt as error:
            # Nobody interrupts a worker: the trial's own code has raised it, and Ray would call it a cancelled call.
            yield Raised.of(error).as_data()


def compute(
    trials: Sequence[Trial],
    dataset: Dataset,
    *,
    threads: int,
    start: Checkpoint | None = None,
    checkpoint_every: int | None = None,
    until: int | None = None,
    device: str = "cpu",
) -> Iterator[Message]:
    """Compute a fused group on a device and yield what happens, events in batches of `EVERY` seconds.

    The group goes on from ``start``, to ``until`` where that is given; its first event is told at once. Every
    ``checkpoint_every`` steps (None: never) it can be kept where it is; a checkpoint that would come less than
    `CHECKPOINT_EVERY` seconds after the last is left out.

    BLAS gets one thread whatever ``threads`` is, since a product's bits depend on its threads; the task
    spreads rows over ``threads`` threads of its own.
    """
    with threadpool_limits(1, user_api="blas"):
        yield Begun(host=platform.node(), blas=blas()[0])
        listener = Listener()
        to = {} if until is None else {"until": until}  # only a task that trains knows of it
        try:
            events = trials[0].task.run(
                trials,
                dataset,
                threads=threads,
                start=start,
                checkpoint_every=checkpoint_every,
                like=array_for(device),
                **to,
            )
            for batch in _batches(listener.hear(events)):
                yield from _said(listener)
                yield batch
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # whatever a trial raises is a failure of its group
            if is_from_outside(error):
                raise
            yield from _said(listener)
            yield Raised.of(error)


def _said(listener: Listener) -> Iterator[Said]:
    """Yield what was said, before the end of a trial that may come with it."""
    if text := listener.said():
        yield Said(text=text)


def _batches(events: Iterator[Event]) -> Iterator[tuple[Event, ...]]:
    batch: list[Event] = []
    last, kept = -math.inf, time.monotonic()  # the first is told at once: somebody waits to see it begin
    try:
        for event in events:
            checkpoint = isinstance(event, Checkpoint)
            if checkpoint and time.monotonic() - kept < CHECKPOINT_EVERY:
                continue
            batch.append(event)
            if checkpoint:
                kept = time.monotonic()
            if checkpoint or time.monotonic() - last >= EVERY:
                yield tuple(batch)
                batch, last = [], time.monotonic()
    except (Exception, SystemExit, KeyboardInterrupt):
        # What happened before the failure is known, and told first.
        if batch:
            yield tuple(batch)
        raise
    if batch:
        yield tuple(batch)
