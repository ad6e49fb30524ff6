"""The engine that computes groups on the workers of a Ray cluster."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import ray

from pipeline.engine.faults import Answer, after_loss, after_raise, after_timeout
from pipeline.engine.ledger import Ledger
from pipeline.engine.protocol import Report
from pipeline.engine.ray_cluster import connect
from pipeline.engine.worker import Raised, compute
from pipeline.errors import EngineError
from pipeline.plan import Group
from pipeline.schema import Cluster
from tasks.datasets.dataset import Dataset


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """A group on a worker: the stream of its messages, and when the first and the last of them came."""

    ledger: Ledger
    stream: Any
    began: float | None = None
    heard: float = 0.0


class RayEngine:
    """Computes up to ``workers`` groups at once, each as one generator Ray task.

    A group whose worker is lost is tried again from its last checkpoint, one is made every
    ``checkpoint_every`` steps (None: never); see `pipeline.engine.faults` for ``attempts`` and ``timeout``
    (seconds). The retries are made here and not by Ray's ``max_retries``: Ray replays a stream by the number
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
    ) -> None:
        self._cluster = cluster
        self._workers = workers
        self._device = device
        self._attempts = attempts
        self._timeout = timeout
        self._checkpoint_every = checkpoint_every
        self._running: dict[Any, _Attempt] = {}
        remote: Any = ray.remote  # its types do not know generator Ray tasks with keyword arguments
        self._compute = remote(compute).options(
            num_returns="streaming",
            num_cpus=cluster.cpus_per_worker,
            num_gpus=cluster.gpus_per_worker or None,
            max_retries=0,
        )

    def __enter__(self) -> Self:
        connect(self._cluster, cpus=self._workers * self._cluster.cpus_per_worker)
        return self

    def __exit__(self, *exception: object) -> None:
        # Disconnecting ends this driver's Ray tasks and their processes; a private cluster ends with it. (Tasks
        # cancelled just before made Ray look for their lost objects, and end the driver with exit code 1.)
        ray.shutdown()

    def run(self, groups: Sequence[Group], dataset: Dataset) -> Iterator[Report]:
        """Compute the groups, in order of their start, and yield the reports as they come."""
        data = _put(dataset)
        threads = self._cluster.cpus_per_worker
        waiting = deque(Ledger.of(group, threads=threads, device=self._device) for group in groups)
        running = self._running = {}
        while waiting or running:
            while waiting and len(running) < self._workers:
                attempt = self._submit(waiting.popleft(), data)
                running[attempt.stream] = attempt
            # A bounded wait, so that signals and deadlines are seen to.
            _wait(list(running), 1, 0.5)
            ready = _wait(list(running), len(running), 0)
            for stream in ready:
                reports, again = self._hear(running[stream])
                waiting.extendleft(reversed(again))
                yield from reports
            for attempt in self._late():
                reports, again = self._cancel(attempt)
                waiting.extendleft(reversed(again))
                yield from reports

    def _submit(self, ledger: Ledger, data: Any) -> _Attempt:
        group = ledger.begin()
        stream = self._compute.remote(
            tuple(planned.trial for planned in group.trials),
            data,
            width=group.width,
            threads=self._cluster.cpus_per_worker,
            start=None if group.start is None else group.start.checkpoint,
            checkpoint_every=self._checkpoint_every,
            device=self._device,
        )
        return _Attempt(ledger=ledger, stream=stream)

    def _hear(self, attempt: _Attempt) -> Answer:
        """Take the next message of a stream that has one."""
        attempt.heard = time.monotonic()
        attempt.began = attempt.began or attempt.heard
        try:
            message = ray.get(next(attempt.stream))
        except StopIteration:
            del self._running[attempt.stream]
            return list(attempt.ledger.end()), []
        except ray.exceptions.RayError as error:
            # Lost is also what the worker said last, if the node that held it is lost.
            del self._running[attempt.stream]
            return after_loss(attempt.ledger, str(error), attempts=self._attempts)
        if isinstance(message, Raised):
            del self._running[attempt.stream]
            return after_raise(attempt.ledger, message)
        return list(attempt.ledger.take(message)), []

    def _late(self) -> list[_Attempt]:
        if self._timeout is None:
            return []
        begun = time.monotonic() - self._timeout
        return [attempt for attempt in self._running.values() if attempt.began is not None and attempt.began < begun]

    def _cancel(self, attempt: _Attempt) -> Answer:
        assert self._timeout is not None
        ray.cancel(attempt.stream, force=True)
        del self._running[attempt.stream]
        return after_timeout(attempt.ledger, self._timeout, silent=time.monotonic() - attempt.heard)


def _put(dataset: Dataset) -> Any:
    try:
        return ray.put(dataset)
    except (ray.exceptions.ObjectStoreFullError, ray.exceptions.OutOfDiskError) as error:
        size = sum(part.images.nbytes for part in (dataset.train, dataset.validation, dataset.test))
        raise EngineError(
            f"dataset must fit into the object store of the cluster, got {dataset.name} of {size / 1e6:.0f} MB: "
            f"{str(error).splitlines()[0]}"
        ) from error


def _wait(streams: list[Any], count: int, timeout: float) -> list[Any]:
    """Return the streams that are ready; a signal's exception passes through Ray's wait as what it is."""
    try:
        ready, _ = ray.wait(streams, num_returns=count, timeout=timeout, fetch_local=False)
    except SystemError as error:
        # Ray's compiled code complains of an exception raised in it by a signal handler, and hides that one.
        raise error.__cause__ or error.__context__ or error from None
    return list(ready)
