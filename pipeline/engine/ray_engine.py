"""The engine that computes groups on the workers of a Ray cluster; the one module that imports Ray."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

# The workers of a sweep need neither Ray's usage reports nor their question on the terminal.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

import pipeline
from pipeline.engine.ledger import Ledger
from pipeline.engine.protocol import Report
from pipeline.engine.worker import compute
from pipeline.errors import EngineError
from pipeline.plan import Group
from pipeline.schema import Cluster
from tasks.datasets.dataset import Dataset


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """A group on a worker: the stream of its messages, and when its time is over, counted from the first."""

    group: Group
    ledger: Ledger
    number: int
    stream: Any
    deadline: float | None = None


class RayEngine:
    """Computes up to ``workers`` groups at once, each as one generator Ray task.

    A group whose worker is lost is tried again, ``attempts`` times in all. The retries are made here and not
    by Ray's ``max_retries``: Ray replays a stream by the number of its items, and batches cut by time differ
    from attempt to attempt.
    """

    def __init__(
        self, cluster: Cluster, *, workers: int, device: str, attempts: int = 1, timeout: float | None = None
    ) -> None:
        self._cluster = cluster
        self._workers = workers
        self._device = device
        self._attempts = attempts
        self._timeout = float("inf") if timeout is None else timeout
        remote: Any = ray.remote  # its types do not know generator Ray tasks with keyword arguments
        self._compute = remote(compute).options(
            num_returns="streaming",
            num_cpus=cluster.cpus_per_worker,
            num_gpus=cluster.gpus_per_worker or None,
            max_retries=0,
        )

    def __enter__(self) -> Self:
        try:
            start(self._cluster, cpus=self._workers * self._cluster.cpus_per_worker)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            address = self._cluster.address
            raise EngineError(f"cluster.address must be a Ray cluster in reach, got {address!r}: {error}") from error
        return self

    def __exit__(self, *exception: object) -> None:
        # Disconnecting ends this driver's Ray tasks; a private cluster ends with it.
        ray.shutdown()

    def run(self, groups: Sequence[Group], dataset: Dataset) -> Iterator[Report]:
        """Compute the groups, in order of their start, and yield the reports as they come."""
        data = ray.put(dataset)
        waiting = deque((group, self._ledger(group), 1) for group in groups)
        running: dict[Any, _Attempt] = {}
        while waiting or running:
            while waiting and len(running) < self._workers:
                attempt = self._submit(*waiting.popleft(), data)
                running[attempt.stream] = attempt
            # A bounded wait, so that signals and deadlines are seen to.
            ray.wait(list(running), num_returns=1, timeout=0.5, fetch_local=False)
            ready, _ = ray.wait(list(running), num_returns=len(running), timeout=0, fetch_local=False)
            for stream in ready:
                attempt = running[stream]
                over, lost, reports = _next(attempt)
                if attempt.deadline is None:
                    attempt.deadline = time.monotonic() + self._timeout
                yield from reports
                if over:
                    del running[stream]
                if lost is not None and attempt.number < self._attempts:
                    waiting.appendleft((attempt.group, attempt.ledger, attempt.number + 1))
                elif lost is not None:
                    error = f"lost with its worker in {attempt.number} of {self._attempts} attempts"
                    yield from attempt.ledger.fail(error, lost)
                elif over:
                    yield from attempt.ledger.end()
            yield from self._end_late(running)

    def _end_late(self, running: dict[Any, _Attempt]) -> Iterator[Report]:
        now = time.monotonic()
        late = [stream for stream, attempt in running.items() if attempt.deadline and now > attempt.deadline]
        for stream in late:
            ray.cancel(stream, force=True)
            yield from running.pop(stream).ledger.fail(f"trial.timeout: took longer than {self._timeout} s", "")

    def _ledger(self, group: Group) -> Ledger:
        return Ledger(group, threads=self._cluster.cpus_per_worker, device=self._device)

    def _submit(self, group: Group, ledger: Ledger, number: int, data: Any) -> _Attempt:
        trials = tuple(planned.trial for planned in group.trials)
        stream = self._compute.remote(trials, data, width=group.width, threads=self._cluster.cpus_per_worker)
        return _Attempt(group=group, ledger=ledger, number=number, stream=stream)


def start(cluster: Cluster, *, cpus: int) -> None:
    """Join the cluster that ``cluster`` names, or the one started on this machine, or start a private one."""
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "ERROR",
        # The workers import the very code that the driver runs, installed or not.
        "job_config": ray.job_config.JobConfig(_py_driver_sys_path=[str(Path(pipeline.__path__[0]).parent)]),
    }
    private: dict[str, Any] = {
        "num_cpus": max(cpus, os.cpu_count() or 1),
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
    }
    if cluster.address not in (None, "local"):
        ray.init(cluster.address, **options)
        return
    try:
        ray.init(cluster.address, **options, **private)
    except ValueError:
        # Ray refuses to size a cluster that is running already: it is the one to join.
        ray.init(**options)


def _next(attempt: _Attempt) -> tuple[bool, str | None, list[Report]]:
    """Return whether the stream is over, how its worker was lost (None: it was not), and what it told."""
    try:
        message = ray.get(next(attempt.stream))
    except StopIteration:
        return True, None, []
    except ray.exceptions.RayError as error:
        return True, str(error), []
    return False, None, list(attempt.ledger.take(message))
