"""The engine that computes groups on the workers of a Ray cluster."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import ray

from pipeline.config.schema import Cluster
from pipeline.engine.capacity import capacity
from pipeline.engine.faults import Answer, after_end, after_loss, after_message, after_raise, after_timeout
from pipeline.engine.halving import WORTH, to_halve
from pipeline.engine.ledger import Ledger
from pipeline.engine.ray_cluster import connect, leave, nodes
from pipeline.engine.ray_losses import kernel_kills, why_lost
from pipeline.engine.ray_workers import Workers
from pipeline.engine.worker import GroupStarted
from pipeline.errors import EngineError
from pipeline.plan.balance import balance
from pipeline.plan.plan import Group
from pipeline.raised import Raised
from pipeline.reports import Report
from tasks.cost import Extent
from tasks.datasets.dataset import Dataset

LOOK_EVERY = 1.0
"""Seconds between two looks at the cluster: whether nodes have come or gone, and who is idle."""


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """A group on a worker: the stream of its messages, and when the first and the last of them came.

    ``host`` is where it has begun, ``killed_before`` how many processes this machine had killed for memory by then.
    """

    ledger: Ledger
    worker: Any
    stream: Any
    wide: bool
    killed_before: int
    began: float | None = None
    heard: float = 0.0
    host: str = ""


class RayEngine:
    """Computes the groups on the workers of a cluster, one at a time on each.

    There are to be ``workers`` of them. Where ``cluster.workers`` is given or the cluster is
    private, there are so many; else as many as the cluster has room for while nodes come and go, and the groups
    that wait are cut anew. A worker that is left with nothing to do takes half of a group that has started, where that
    saves ``worth`` seconds.

    A group whose worker is lost is tried again from its last checkpoint, one is made every
    ``checkpoint_every`` steps (None: never); see `pipeline.engine.faults` for ``attempts`` and ``timeout``
    (seconds). The retries are made here and not by Ray's ``max_task_retries``: Ray replays a stream by the number
    of its items, and batches cut by time differ from attempt to attempt.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        workers: int,
        device: str,
        attempts: int = 1,
        timeout: float | None = None,
        checkpoint_every: int | None = None,
        worth: float = WORTH,
    ) -> None:
        self._cluster = cluster
        self._size = workers
        self._device = device
        self._attempts = attempts
        self._timeout = timeout
        self._checkpoint_every = checkpoint_every
        self._worth = worth
        self._threads = max(1, int(cluster.cpus_per_worker))
        self._running: dict[Any, _Attempt] = {}
        self._waiting: deque[Ledger] = deque()
        self._last = True
        self._data: Any = None
        self._extent: Extent | None = None
        self._pool = Workers(cluster, device)
        self._follows = False
        self._looked = 0.0

    def __enter__(self) -> Self:
        joined = connect(self._cluster, cpus=math.ceil(self._size * self._cluster.cpus_per_worker))
        self.start(follows=joined and self._cluster.workers is None)
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self, *, follows: bool) -> None:
        """Ask the cluster for the workers; ``follows`` says whether their number is to follow what it has room for."""
        self._follows = follows
        self._pool.want(self._size)  # they start while the record is opened

    def close(self) -> None:
        """End the workers and leave the cluster; a private one ends as well."""
        # Disconnecting ends this driver's workers and their processes; a private cluster ends with it. (What was
        # cancelled just before made Ray look for its lost objects, and end the driver with exit code 1.)
        leave()

    @property
    def size(self) -> int:
        """How many workers there are, or are to be."""
        return self._size

    def load(self, dataset: Dataset) -> None:
        """Take in the data, of which each node gets one copy."""
        self.use(put(dataset), Extent.of(dataset))

    def use(self, data: Any, extent: Extent) -> None:
        """Take in data that were `put`, and their extent."""
        self._data, self._extent = data, extent

    def submit(self, groups: Sequence[Group], *, last: bool) -> None:
        """Take in groups to compute."""
        self._last = last
        self._waiting += (Ledger.of(group, threads=self._threads, device=self._device) for group in groups)

    def reports(self) -> Iterator[Report]:
        """Compute the groups and yield the reports as they come."""
        for reports in self.turns():
            yield from reports

    def turns(self) -> Iterator[list[Report]]:
        """Compute the groups; yield what is reported, twice a second or more."""
        while self._waiting or self._running:
            if time.monotonic() - self._looked >= LOOK_EVERY:
                self._looked = time.monotonic()
                self._waiting = self._adapted(self._waiting)
            self._pool.want(self._wanted(len(self._waiting)))
            while self._waiting and self._pool.idle:
                attempt = self._begin(self._waiting.popleft())
                self._running[attempt.stream] = attempt
            # A bounded wait, so that signals and deadlines are seen to.
            _wait([*self._pool.coming, *self._running], 1, 0.5)
            for worker in _ready(self._pool.coming):
                self._pool.came(worker)
                self._looked = 0.0
            told: list[Report] = []
            for reports, again in self._answers():
                told += reports
                self._waiting.extendleft(reversed(again))
            yield told

    def _answers(self) -> Iterator[Answer]:
        for stream in _ready(list(self._running)):
            yield self._hear(self._running[stream])
        for attempt in self._late():
            yield self._cancel(attempt)

    def _adapted(self, waiting: deque[Ledger]) -> deque[Ledger]:
        """Return the groups that wait, cut anew if the number of workers has changed, or half of one that runs."""
        extent = self._extent
        assert extent is not None, "the data come first"
        size = max(1, capacity(nodes(), self._cluster)) if self._follows else self._size
        if waiting and size != self._size:
            left = sorted(attempt.ledger.load(extent).part_cost(1) for attempt in self._running.values())
            counts = balance([ledger.load(extent) for ledger in waiting], [0.0] * (size - len(left)) + left[:size])
            parts = [part for ledger, count in zip(waiting, counts, strict=True) for part in ledger.split(count)]
            waiting = deque(sorted(parts, key=lambda ledger: -ledger.load(extent).part_cost(1)))
        self._size = size
        return waiting or deque(self._halved())

    def _halved(self) -> list[Ledger]:
        """Return what is left of a started group as halves, if a worker is idle and it is worth it."""
        if not self._pool.idle:
            return []
        begun = [attempt for attempt in self._running.values() if attempt.began is not None]
        paces = [(attempt.ledger.pace(), attempt.heard - (attempt.began or 0.0)) for attempt in begun]
        place = to_halve(paces, worth=self._worth)
        if place is None:
            return []
        self._drop(begun[place])
        return begun[place].ledger.split(2)

    def _wanted(self, waiting: int) -> int:
        """Return how many workers there should be beside those that compute."""
        # Of a cluster that may grow some more are asked for than it has room for, which an autoscaler sees.
        most = self._size + 1 + self._size // 4 if self._follows else self._size
        if not self._last:
            return max(most - len(self._running), 0)
        wide = sum(attempt.wide for attempt in self._running.values())  # an idle worker may take half of these
        return min(waiting + wide, most - len(self._running))

    def _begin(self, ledger: Ledger) -> _Attempt:
        group, worker = ledger.begin(), self._pool.idle.pop()
        stream = worker.compute.options(num_returns="streaming").remote(
            tuple(planned.trial for planned in group.trials),
            self._data,
            threads=self._threads,
            start=None if group.start is None else group.start.checkpoint,
            checkpoint_every=self._checkpoint_every,
            until=group.until,
        )
        return _Attempt(
            ledger=ledger, worker=worker, stream=stream, wide=len(group.trials) > 1, killed_before=kernel_kills()
        )

    def _hear(self, attempt: _Attempt) -> Answer:
        """Take the next message of a stream that has one."""
        attempt.heard = time.monotonic()
        attempt.began = attempt.began or attempt.heard
        try:
            message = ray.get(next(attempt.stream))
        except StopIteration:
            self._free(attempt)
            return after_end(attempt.ledger)
        except ray.exceptions.RayError as error:
            # Lost is also what the worker said last, if the node that held it is lost.
            self._drop(attempt)
            why, detail = why_lost(error, host=attempt.host, killed_before=attempt.killed_before)
            return after_loss(attempt.ledger, why, detail, attempts=self._attempts)
        if isinstance(message, Raised):
            self._free(attempt)
            return after_raise(attempt.ledger, message)
        if isinstance(message, GroupStarted):
            attempt.host = message.host
        return after_message(attempt.ledger, message)

    def _late(self) -> list[_Attempt]:
        if self._timeout is None:
            return []
        begun = time.monotonic() - self._timeout
        return [attempt for attempt in self._running.values() if attempt.began is not None and attempt.began < begun]

    def _cancel(self, attempt: _Attempt) -> Answer:
        assert self._timeout is not None
        self._drop(attempt)
        return after_timeout(attempt.ledger, self._timeout, silent=time.monotonic() - attempt.heard)

    def _free(self, attempt: _Attempt) -> None:
        """Let another group have the worker of a group that has ended."""
        del self._running[attempt.stream]
        self._pool.idle.append(attempt.worker)

    def _drop(self, attempt: _Attempt) -> None:
        del self._running[attempt.stream]
        self._pool.end(attempt.worker)


def put(dataset: Dataset) -> Any:
    """Return the reference to a data set in the object store, from where each node has it once.

    Raises
    ------
    EngineError
        If it does not fit in there.
    """
    try:
        return ray.put(dataset)
    except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError) as error:
        size = sum(part.images.nbytes for part in (dataset.train, dataset.validation, dataset.test))
        raise EngineError(
            f"dataset must fit into the object store of the cluster, got {dataset.name} of {size / 1e6:.0f} MB: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _ready(what: list[Any]) -> list[Any]:
    return _wait(what, len(what), 0) if what else []


def _wait(what: list[Any], count: int, timeout: float) -> list[Any]:
    """Return the streams and workers that are ready; a signal's exception passes through Ray's wait as what it is."""
    try:
        ready, _ = ray.wait(what, num_returns=count, timeout=timeout, fetch_local=False)
    except SystemError as error:
        # Ray's compiled code complains of an exception raised in it by a signal handler, and hides that one.
        raise error.__cause__ or error.__context__ or error from None
    return list(ready)
