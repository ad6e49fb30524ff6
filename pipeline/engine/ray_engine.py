"""The engine that computes groups on the workers of a Ray cluster."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

import ray

from pipeline.config.schema import Cluster
from pipeline.engine.capacity import capacity, needs
from pipeline.engine.faults import after_end, after_lost_worker, after_message, after_raise, after_timeout
from pipeline.engine.ledger import Answer, Ledger
from pipeline.engine.lost_workers import kernel_kills, was_lost_with_node, why_lost
from pipeline.engine.ray_cluster import join_or_start, leave, nodes
from pipeline.engine.ray_workers import Workers
from pipeline.engine.splitting import group_to_split
from pipeline.engine.worker import GroupStarted
from pipeline.errors import EngineError
from pipeline.plan.balance import balance
from pipeline.plan.plan import Group
from pipeline.raised import Raised
from pipeline.reports import Notice, Report
from tasks.cost import DataSize
from tasks.datasets.dataset import Dataset

CHECK_EVERY = 1.0
"""Seconds between two checks of the cluster: whether nodes have come or gone, and which workers are idle."""

WAIT_SILENTLY = 10.0
"""Seconds without a running group until it is said that workers are waited for: others may have all of a cluster."""


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """A group on a worker: the stream of its messages, and the times of the first and the last message.

    ``used`` says whether the worker has computed another group before; ``host`` is its own; ``killed_before`` is
    `kernel_kills` at the start of the attempt.
    """

    ledger: Ledger
    worker: Any
    used: bool
    stream: Any
    wide: bool
    killed_before: int
    began: float = math.inf
    heard: float = 0.0
    host: str = ""


class RayEngine:
    """Computes the groups on the workers of a cluster, one at a time on each.

    There are ``workers`` of them if ``cluster.workers`` is given or the cluster is private; else as many as fit on
    the cluster while nodes come and go, and the waiting groups are split again whenever that number changes. A worker
    that is left idle takes half of a running group, if that saves time (`pipeline.engine.splitting`).

    A group whose worker is lost is retried from its last checkpoint; it makes one every ``checkpoint_every`` steps
    (None: never). See `pipeline.engine.faults` for ``attempts`` and ``timeout`` (seconds). Ray's ``max_task_retries``
    is not used: Ray replays a stream by the number of its items, and batches by time differ between attempts.

    ``versions`` are those of the driver's libraries: a worker that has others is told of, and its trials' layouts name
    them. ``meanwhile`` is called while a private cluster starts (`pipeline.engine.ray_private_cluster.start_private`).
    """

    _data: Any  # set by `use`, as its size is
    _data_size: DataSize

    def __init__(
        self,
        cluster: Cluster,
        *,
        workers: int,
        device: str,
        attempts: int = 1,
        timeout: float = math.inf,
        checkpoint_every: int | None = None,
        versions: Mapping[str, str] = MappingProxyType({}),
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        self._cluster = cluster
        self._meanwhile = meanwhile
        self._size = workers
        self._attempts = attempts
        self._timeout = timeout
        self._checkpoint_every = checkpoint_every
        self._threads = max(1, int(cluster.cpus_per_worker))
        self._running: dict[Any, _Attempt] = {}
        self._waiting: deque[Ledger] = deque()
        self._last = True
        self._pool = Workers(cluster, device, versions)
        self._follows = False
        self._notices: list[Report] = []  # those of the next batch
        self._versions, self._told = versions, set[str]()
        self._silence = math.inf  # the seconds until it is said that workers are waited for
        self._checked_at = 0.0

    def __enter__(self) -> Self:
        cpus = math.ceil(self._size * self._cluster.cpus_per_worker)
        joined = join_or_start(self._cluster, cpus=cpus, meanwhile=self._meanwhile)
        self.start(joined=joined)
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def start(self, *, joined: bool) -> None:
        """Start the workers; ``joined`` says whether the cluster was there before."""
        self._follows = joined and self._cluster.workers is None
        self._silence = WAIT_SILENTLY if joined else math.inf
        self._size, room = self._room(), capacity(nodes(), self._cluster)
        if joined and room < self._size:
            told = f"cluster.workers={self._size}, but the nodes of the cluster hold {room} now"
            self._notices.append(Notice(text=f"{told}: the others start when nodes join"))
        self._pool.scale_to(self._size)  # they start while the record is opened

    def close(self) -> None:
        """End the workers and leave the cluster; a private one ends as well."""
        # Disconnecting ends this driver's workers and their processes. (Cancelling calls just before made Ray look for
        # their lost objects, and end the driver with exit code 1.)
        leave()

    @property
    def size(self) -> int:
        """The number of workers that there should be."""
        return self._size

    def load(self, dataset: Dataset) -> None:
        """Put the data into the object store: each node gets one copy."""
        self.use(put(dataset), DataSize.of(dataset))

    def use(self, data: Any, data_size: DataSize) -> None:
        """Set the reference to data that were `put`, and their size."""
        self._data, self._data_size = data, data_size

    def submit(self, groups: Sequence[Group], *, last: bool) -> None:
        """Add groups to compute."""
        self._last = last
        self._waiting += map(Ledger.of, groups)

    def reports(self) -> Iterator[Report]:
        """Compute the groups and yield the reports as they arrive."""
        for reports in self.batches():
            yield from reports

    def batches(self) -> Iterator[list[Report]]:
        """Compute the groups; yield batches of reports, at least twice a second."""
        while self._waiting or self._running:
            if time.monotonic() - self._checked_at >= CHECK_EVERY:
                self._checked_at = time.monotonic()
                self._waiting = self._rebalanced(self._waiting)
            self._pool.scale_to(self._wanted(len(self._waiting)))
            while self._waiting and self._pool.idle:
                attempt = self._begin(self._waiting.popleft())
                self._running[attempt.stream] = attempt
            began = time.monotonic()
            # A bounded wait, so that signals and timeouts are handled.
            _wait([*self._pool.starting, *self._running], 1, 0.5)
            self._silence -= 0.0 if self._running else time.monotonic() - began
            batch, self._notices = self._notices, []
            for worker in _ready(self._pool.starting):
                batch += self._pool.add_ready(worker, others=bool(self._running))
                self._checked_at = 0.0
            if self._silence < 0:
                self._silence = math.inf  # it is said once
                free = ", ".join(f"{amount:g} {kind}" for kind, amount in needs(self._cluster).items())
                batch.append(Notice(text=f"waiting for a worker to start: it needs a node with {free} free"))
            for reports, again in self._answers():
                batch += reports
                self._waiting.extendleft(reversed(again))
            yield batch

    def _answers(self) -> Iterator[Answer]:
        heard = _ready(list(self._running))
        for stream in heard:
            yield self._next_message(self._running[stream])
        for attempt in list(self._running.values()):
            late = time.monotonic() - attempt.began > self._timeout
            # If this process was stopped, a group whose message has just been read may have ended in time.
            if late and attempt.stream not in heard:
                self._drop(attempt)
                yield after_timeout(attempt.ledger, self._timeout, silent=time.monotonic() - attempt.heard)

    def _rebalanced(self, waiting: deque[Ledger]) -> deque[Ledger]:
        """Return the waiting groups, split again if the number of workers has changed; if none wait, halves of one."""
        data_size = self._data_size
        size = self._room()
        if waiting and size != self._size:
            left = sorted(attempt.ledger.remaining_load(data_size).part_cost(1) for attempt in self._running.values())
            loads = [ledger.remaining_load(data_size) for ledger in waiting]
            counts = balance(loads, [0.0] * (size - len(left)) + left[:size])
            parts = [part for ledger, count in zip(waiting, counts, strict=True) for part in ledger.split(count)]
            waiting = deque(sorted(parts, key=lambda ledger: -ledger.remaining_load(data_size).part_cost(1)))
        self._size = size
        return waiting or deque(self._split())

    def _room(self) -> int:
        """Return how many workers there should be now."""
        return max(1, capacity(nodes(), self._cluster)) if self._follows else self._size

    def _split(self) -> list[Ledger]:
        """Return a running group as halves, if a worker is idle and a split is worth it."""
        if not self._pool.idle:
            return []
        begun = [attempt for attempt in self._running.values() if attempt.began < math.inf]
        now, size = time.monotonic(), self._data_size
        saved = [
            one.ledger.saved_by_split(size, seconds=one.heard - one.began, silent=now - one.heard) for one in begun
        ]
        place = group_to_split(saved)
        if place is None:
            return []
        self._drop(begun[place])
        return begun[place].ledger.split(2)

    def _wanted(self, waiting: int) -> int:
        """Return how many workers should be idle or starting."""
        # On a cluster that may grow, more are started than fit: an autoscaler sees that demand.
        most = self._size + 1 + self._size // 4 if self._follows else self._size
        room = max(0, most - len(self._running))  # a node may be gone before the loss of its workers is known
        if not self._last:
            return room
        wide = sum(attempt.wide for attempt in self._running.values())  # an idle worker may take half of these
        return min(waiting + wide, room)

    def _begin(self, ledger: Ledger) -> _Attempt:
        worker, used = self._pool.idle.pop()
        stream = worker.compute.options(num_returns="streaming").remote(
            ray.cloudpickle.dumps(ledger.trials),  # type: ignore[no-untyped-call]
            self._data,
            threads=self._threads,
            start=ledger.start,
            checkpoint_every=self._checkpoint_every,
            until=ledger.until,
        )
        wide = len(ledger.trials) > 1
        return _Attempt(ledger=ledger, worker=worker, used=used, stream=stream, wide=wide, killed_before=kernel_kills())

    def _next_message(self, attempt: _Attempt) -> Answer:
        """Answer the next message of a stream that has one."""
        attempt.heard = time.monotonic()
        try:
            message = ray.get(next(attempt.stream))
        except StopIteration:
            self._free(attempt)
            return after_end(attempt.ledger)
        except ray.exceptions.RayError as error:
            # The worker's last message may be lost, too, with the node that held it.
            self._drop(attempt)
            if attempt.began == math.inf and (attempt.used or was_lost_with_node(error)):
                return [], [attempt.ledger]  # the worker was lost while it was idle: the group has not begun
            why, detail = why_lost(error, host=attempt.host, killed_before=attempt.killed_before)
            return after_lost_worker(attempt.ledger, why, detail, attempts=self._attempts)
        attempt.began = min(attempt.began, attempt.heard)
        if isinstance(message, Raised):
            self._free(attempt)
            return after_raise(attempt.ledger, message)
        if isinstance(message, GroupStarted):
            attempt.host = message.host
            reports, again = after_message(attempt.ledger, message)
            return [*self._differences(message), *reports], again
        return after_message(attempt.ledger, message)

    def _differences(self, begun: GroupStarted) -> Iterator[Notice]:
        """Yield a notice of the libraries of a host that are of other versions than the driver's, once a host."""
        if not begun.versions or begun.host in self._told:
            return
        self._told.add(begun.host)
        found = ", ".join(f"{name} {version}, not {self._versions[name]}" for name, version in begun.versions)
        yield Notice(
            text=f"{begun.host} has {found}: its trials may have other last bits, and their runs name what it has"
        )

    def _free(self, attempt: _Attempt) -> None:
        """Return the worker of a group that has ended to the idle ones."""
        del self._running[attempt.stream]
        self._pool.idle.append((attempt.worker, True))

    def _drop(self, attempt: _Attempt) -> None:
        del self._running[attempt.stream]
        self._pool.end(attempt.worker)


def put(dataset: Dataset) -> Any:
    """Put a data set into the object store, and return its reference: each node gets one copy.

    Raises
    ------
    EngineError
        If it does not fit.
    """
    try:
        return ray.put(dataset)
    except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError) as error:
        size = sum(part.images.nbytes for part in (dataset.train, dataset.validation, dataset.test))
        raise EngineError(
            f"dataset must fit into the object store of the cluster, got {dataset.name} of {size / 1e6:.0f} MB: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _ready(references: list[Any]) -> list[Any]:
    return _wait(references, len(references), 0)


def _wait(references: list[Any], count: int, timeout: float) -> list[Any]:
    """Return the references that are ready; an exception of a signal handler is raised as it is."""
    if not references:
        time.sleep(timeout)  # Ray would return at once
        return []
    try:
        ready, _ = ray.wait(references, num_returns=count, timeout=timeout, fetch_local=False)
    except SystemError as error:
        # Ray's native code wraps an exception that a signal handler raises in it.
        raise error.__cause__ or error.__context__ or error from None
    return list(ready)
