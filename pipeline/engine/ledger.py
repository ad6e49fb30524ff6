"""The ledger of a group: turns a worker's messages into reports, each point and each ending exactly once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from pipeline.engine.protocol import Failed, Finished, Progressed, Report, Started
from pipeline.engine.worker import Begun, Message, Raised
from pipeline.plan import Group
from pipeline.recorder.protocol import Layout
from tasks.events import Checkpoint, Curve, Event, Result


class Ledger:
    """Follows one group over all its attempts.

    An attempt starts over, so it tells again what the one before told; a computation is deterministic, so
    a point at or before the last known step is the known point and is left out.
    """

    def __init__(self, group: Group, *, threads: int, device: str) -> None:
        self._group = group
        self._threads = threads
        self._device = device
        self._begun: Begun | None = None
        self._last: dict[tuple[int, frozenset[str]], int] = {}
        self._open = set(range(len(group.trials)))

    def take(self, message: Message) -> Iterator[Report]:
        """Yield the reports that a message makes."""
        match message:
            case Begun():
                if self._begun is None:
                    yield from (Started(trial=trial) for trial in self._group.trials)
                self._begun = message
            case Raised(error=error, traceback=trace):
                yield from self.fail(error, trace)
            case events:
                for event in events:
                    yield from self._take_event(event)

    def end(self) -> Iterator[Report]:
        """Yield the failures of the trials that the computation left without a result."""
        yield from self.fail("the computation ended without a result for this trial", "")

    def fail(self, error: str, traceback: str) -> Iterator[Report]:
        """Yield a failure for each trial that has not ended."""
        for slot in sorted(self._open):
            yield Failed(trial=self._group.trials[slot], error=error, traceback=traceback)
        self._open.clear()

    def _take_event(self, event: Event) -> Iterator[Report]:
        if isinstance(event, Checkpoint) or event.trial not in self._open:
            return
        trial = self._group.trials[event.trial]
        if isinstance(event, Result):
            self._open.discard(event.trial)
            yield Finished(trial=trial, result=event, layout=self._layout(event.trial))
            return
        # Training and validation have curves of their own, with points at the same steps.
        curves = (event.trial, frozenset(event.metrics))
        new = event.steps > self._last.get(curves, -1)
        if np.any(new):
            self._last[curves] = int(event.steps[-1])
            yield Progressed(trial=trial, curve=event if np.all(new) else _cut(event, new))

    def _layout(self, slot: int) -> Layout:
        begun = self._begun
        assert begun is not None, "a worker says that it has begun before anything else"
        return Layout(
            width=self._group.width,
            slot=slot,
            threads=self._threads,
            host=begun.host,
            device=self._device,
            blas=begun.blas,
        )


def _cut(curve: Curve, kept: np.ndarray) -> Curve:
    metrics = {name: values[kept] for name, values in curve.metrics.items()}
    return dataclasses.replace(curve, steps=curve.steps[kept], metrics=metrics)
