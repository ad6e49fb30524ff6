"""The ledger of a group: it turns messages into reports, and knows what is left to compute after a fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.config.settings import escaped
from pipeline.engine.splitting import saved_by_split
from pipeline.engine.worker import GroupStarted, Message
from pipeline.plan.balance import Load
from pipeline.plan.plan import Group, PlannedTrial, Progress, chunks
from pipeline.raised import Raised
from pipeline.reports import (
    Checkpointed,
    Failed,
    Finished,
    Layout,
    Paused,
    Printed,
    Progressed,
    Report,
    Retried,
    Started,
)
from tasks.cost import DataSize, cost
from tasks.events import Checkpoint, Curve, Event, Pause, Result
from tasks.trial import Trial

Answer = tuple[list[Report], list["Ledger"]]
"""The reports that answer a message or a fault, and the ledgers of what is to be computed now."""


@dataclass(slots=True, kw_only=True)
class Account:
    """The state of one trial over all its attempts: its points so far, by their metrics, and whether it has ended.

    Training and validation have separate curves, with points at the same steps.
    """

    trial: PlannedTrial
    started: bool = False
    ended: bool = False
    attempts: int = 1
    blocks: dict[frozenset[str], list[Curve]] = field(default_factory=dict)

    def new(self, curve: Curve) -> Curve | None:
        """Keep the new points of a curve, and return them; None if there are none.

        A computation is deterministic: a point at or before the last known step is already known.
        """
        kind = frozenset(curve.metrics)
        known = self.blocks.get(kind)
        new = curve.steps > (known[-1].steps[-1] if known else -1)
        if not np.any(new):
            return None
        if not np.all(new):
            metrics = {name: values[new] for name, values in curve.metrics.items()}
            curve = dataclasses.replace(curve, steps=curve.steps[new], metrics=metrics)
        self.blocks.setdefault(kind, []).append(curve)
        return curve


@dataclass(slots=True, kw_only=True)
class CommonError:
    """The hypothesis that all trials of a group raise the error that the group has ``raised`` at ``step``.

    It is tested by ``parts`` of the group: ``confirmed`` are those that have raised it and wait for the others,
    ``rest`` are the trials that are not retried unless it is ``refuted``.
    """

    raised: Raised
    step: int
    parts: int
    confirmed: list[Ledger] = field(default_factory=list)
    rest: list[Ledger] = field(default_factory=list)
    refuted: bool = False

    def same(self, raised: Raised, step: int) -> bool:
        """Return whether a part's error is the common one."""
        return not self.refuted and raised.place == self.raised.place and step <= self.step


class Ledger:
    """One attempt at a group; the trials that are left after a fault get new ledgers.

    It begins at the checkpoint ``start`` and pauses at the step ``until``, if it has them; ``checkpoint`` is its last
    one. ``lost_workers`` is how many workers this very group has lost; ``common_error`` is the hypothesis that it
    tests, if any.
    """

    def __init__(
        self,
        accounts: Sequence[Account],
        *,
        start: Checkpoint | None = None,
        until: int | None = None,
        lost_workers: int = 0,
    ) -> None:
        self.start, self.until = start, until
        self.checkpoint = start
        self.lost_workers = lost_workers
        self.common_error: CommonError | None = None
        self._accounts = tuple(accounts)
        self._begun: GroupStarted | None = None

    @classmethod
    def of(cls, group: Group) -> Ledger:
        """Return the ledger of a planned group."""
        if group.start is None:
            return cls([Account(trial=trial) for trial in group.trials], until=group.until)
        accounts = [Account(trial=trial, started=group.start.reported) for trial in group.trials]
        for curve in group.start.curves:
            accounts[curve.trial].new(curve)
        return cls(accounts, start=group.start.checkpoint, until=group.until)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The trials to compute."""
        return tuple(account.trial.trial for account in self._accounts)

    def open(self) -> list[int]:
        """Return the slots (positions in the group) of the trials that have not ended."""
        return [slot for slot, account in enumerate(self._accounts) if not account.ended]

    def reports_of(self, message: Message) -> Iterator[Report]:
        """Yield the reports of a message."""
        if isinstance(message, GroupStarted):
            self._begun = message
            for slot, account in enumerate(self._accounts):
                if not account.started:
                    account.started = True
                    yield Started(trial=account.trial, host=message.host, step=self.start.step if self.start else 0)
                    # The points of an earlier process are reported again: its record may lack the last ones.
                    yield from (Progressed(trial=account.trial, curve=_at(slot, curve)) for curve in _merged(account))
            return
        if isinstance(message, str):
            yield from (Printed(trial=self._accounts[slot].trial, text=message) for slot in self.open())
            return
        for event in message:
            yield from self._reports_of_event(event)

    def fail(self, error: str, traceback: str, raised: Raised | None = None) -> Answer:
        """Return a failure for each trial that has not ended: it has now."""
        accounts = [self._accounts[slot] for slot in self.open()]
        for account in accounts:
            account.ended = True
        return [Failed(trial=one.trial, error=error, traceback=traceback, raised=raised) for one in accounts], []

    def step(self) -> int:
        """Return the furthest step with a point, of the trials that have not ended."""
        last = [blocks[-1] for slot in self.open() for blocks in self._accounts[slot].blocks.values()]
        return max([int(block.steps[-1]) for block in last], default=0)

    def attempt(self) -> int:
        """Return the number of the trials' attempt."""
        return max([self._accounts[slot].attempts for slot in self.open()], default=1)

    def again(
        self, parts: int, error: str, *, lost_workers: int, alone: tuple[int, int] | None = None, raised: bool = False
    ) -> Answer:
        """Return the report and the ledgers of a retry after an error, of the trials that have not ended, in ``parts``.

        ``lost_workers`` is how many they have lost already. ``alone`` is the attempt and the most attempts of a trial
        alone; ``raised`` says that the computation itself raised the error.
        """
        accounts = [self._accounts[slot] for slot in self.open()]
        for account in accounts:
            account.attempts += 1
        retried = Retried(
            trials=tuple(account.trial for account in accounts),
            attempt=accounts[0].attempts,
            step=0 if self.checkpoint is None else self.checkpoint.step,
            parts=parts,
            error=error,
            alone=alone,
            raised=raised,
        )
        self.lost_workers = lost_workers
        return [retried], self.split(parts)

    def split(self, parts: int) -> list[Ledger]:
        """Return the ledgers of the trials that have not ended, in ``parts``, from the last checkpoint on."""
        return self.split_by_slots(chunks(self.open(), parts))

    def split_by_slots(self, parts: Sequence[Sequence[int]]) -> list[Ledger]:
        """Return a ledger for each part, given by the slots of its trials.

        A trial that is now alone for the first time has lost no worker.
        """
        before = len(self.open())
        ledgers = [
            Ledger(
                [self._accounts[slot] for slot in part],
                start=None if self.checkpoint is None else self.checkpoint.of_trials(part),
                until=self.until,
                lost_workers=self.lost_workers if len(part) > 1 or before == 1 else 0,
            )
            for part in parts
        ]
        if self.common_error is not None:
            self.common_error.parts += len(ledgers) - 1
            for ledger in ledgers:
                ledger.common_error = self.common_error
        return ledgers

    def remaining_load(self, data_size: DataSize) -> Load:
        """Return the load that is left to compute on data of that size."""
        trials, steps = [self._accounts[slot].trial.trial for slot in self.open()], self._accounts[0].trial.trial.steps
        left = (1 - self._done()) * (self.until or steps) / steps
        of_all = cost(trials or self.trials, data_size).times(max(left, 0.01))
        return Load(trials=len(trials), cost=of_all, widest=max(1, len(trials)))

    def saved_by_split(self, data_size: DataSize, *, seconds: float, silent: float) -> float:
        """Return the seconds that splitting the group saves, as `pipeline.engine.splitting.saved_by_split` does."""
        steps, load = self.until or self._accounts[0].trial.trial.steps, self.remaining_load(data_size)
        return saved_by_split(
            half=load.part_cost(2) / load.part_cost(1) if load.trials else 1.0,
            began=(self.start.step if self.start else 0) / steps,
            kept=self._kept() / steps,
            done=self._done(),
            seconds=seconds,
            silent=silent,
        )

    def _kept(self) -> int:
        return 0 if self.checkpoint is None else self.checkpoint.step

    def _done(self) -> float:
        """Return the share of the group's steps that is done."""
        return min(max(self._kept(), self.step()) / (self.until or self._accounts[0].trial.trial.steps), 1.0)

    def _reports_of_event(self, event: Event) -> Iterator[Report]:
        if isinstance(event, Checkpoint):
            self.checkpoint = event
            trials, progress = self._progress(event, [slot for slot in self.open() if slot in event.trials])
            yield Checkpointed(trials=trials, progress=progress)
            return
        if isinstance(event, Pause):
            yield from self._paused(event.checkpoint)
            return
        account = self._accounts[event.trial]
        if account.ended:
            return
        if isinstance(event, Result):
            account.ended = True
            result = dataclasses.replace(event, message=escaped(event.message, kept="\n\t"))
            yield Finished(trial=account.trial, result=result, layout=self._layout(event.trial))
        elif (new := account.new(event)) is not None:
            yield Progressed(trial=account.trial, curve=new)

    def _paused(self, checkpoint: Checkpoint) -> Iterator[Report]:
        slots = [slot for slot in self.open() if slot in checkpoint.trials]
        trials, progress = self._progress(checkpoint, slots)
        for slot in slots:
            self._accounts[slot].ended = True
        yield Paused(trials=trials, progress=progress, layouts=tuple(map(self._layout, slots)))

    def _progress(self, checkpoint: Checkpoint, slots: Sequence[int]) -> tuple[tuple[PlannedTrial, ...], Progress]:
        """Return the trials at these slots, and their progress at a checkpoint."""
        accounts = [self._accounts[slot] for slot in slots]
        curves = tuple(_at(place, curve) for place, account in enumerate(accounts) for curve in _merged(account))
        progress = Progress(checkpoint=checkpoint.of_trials(slots), curves=curves)
        return tuple(account.trial for account in accounts), progress

    def _layout(self, slot: int) -> Layout:
        begun = self._begun
        assert begun is not None, "a worker's first message is GroupStarted"
        return Layout(width=len(self._accounts), slot=slot, **dataclasses.asdict(begun))


def _merged(account: Account) -> list[Curve]:
    """Merge the account's points to one block for each kind of curve, and return the blocks."""
    account.blocks = {metrics: [_joined(blocks)] for metrics, blocks in account.blocks.items()}
    return [block for (block,) in account.blocks.values()]


def _joined(blocks: Sequence[Curve]) -> Curve:
    first = blocks[0]
    metrics = {name: np.concatenate([block.metrics[name] for block in blocks]) for name in first.metrics}
    return Curve(trial=first.trial, steps=np.concatenate([block.steps for block in blocks]), metrics=metrics)


def _at(slot: int, curve: Curve) -> Curve:
    return dataclasses.replace(curve, trial=slot)
