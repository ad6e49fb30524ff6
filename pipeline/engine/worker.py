"""What a worker does with a group: compute it with one BLAS thread, and say what happens in batches."""

from __future__ import annotations

import math
import platform
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from pipeline.blas import blas
from tasks.datasets.dataset import Dataset
from tasks.devices import array_for
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
class Raised:
    """The group has raised; the traceback is data, so nothing else need cross the process boundary."""

    error: str
    traceback: str

    @classmethod
    def of(cls, error: Exception) -> Raised:
        """Return what is told of an error that was caught."""
        text = "".join(traceback.format_exception(error))
        return cls(error=f"{type(error).__name__}: {error}", traceback=text)


Message = Begun | Raised | tuple[Event, ...]


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
    ) -> Iterator[Message]:
        """Compute a group of a sweep, whose data set is the same for all its groups; see `compute`."""
        try:
            if self._dataset is None:
                self._dataset = dataset.on(array_for(self._device))
        except Exception as error:  # noqa: BLE001  # a device that cannot be had is a failure of its group
            yield Raised.of(error)
            return
        yield from compute(
            trials,
            self._dataset,
            threads=threads,
            start=start,
            checkpoint_every=checkpoint_every,
            device=self._device,
        )


def compute(
    trials: Sequence[Trial],
    dataset: Dataset,
    *,
    threads: int,
    start: Checkpoint | None = None,
    checkpoint_every: int | None = None,
    device: str = "cpu",
) -> Iterator[Message]:
    """Compute a fused group on a device and yield what happens, events in batches of `EVERY` seconds.

    The group goes on from ``start``; its first event is told at once. Every ``checkpoint_every`` steps (None: never)
    it can be kept where it is; a checkpoint that would come less than `CHECKPOINT_EVERY` seconds after the last is
    left out.

    BLAS gets one thread whatever ``threads`` is, since a product's bits depend on its threads; the task
    spreads rows over ``threads`` threads of its own.
    """
    with threadpool_limits(1, user_api="blas"):
        yield Begun(host=platform.node(), blas=blas()[0])
        try:
            events = trials[0].task.run(
                trials,
                dataset,
                threads=threads,
                start=start,
                checkpoint_every=checkpoint_every,
                like=array_for(device),
            )
            yield from _batches(events)
        except Exception as error:  # noqa: BLE001  # whatever a trial raises is a failure of its group, told as data
            yield Raised.of(error)


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
    except Exception:
        # What happened before the failure is known, and told first.
        if batch:
            yield tuple(batch)
        raise
    if batch:
        yield tuple(batch)
