"""The worker processes of a sweep on Ray: started as groups wait, each used for one group after another."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import ray

from pipeline.config.schema import Cluster
from pipeline.engine.lost_workers import was_lost_with_node
from pipeline.engine.worker import Worker
from pipeline.errors import EngineError
from pipeline.reports import Notice

MAX_FAILED_STARTS = 3
"""How often in a row a worker may fail to start."""

START_AGAIN_AFTER = 30.0
"""Seconds until a worker is started again after so many failures: where a node is at fault, Ray would pick it again."""


class Workers:
    """Ray actors, not Ray tasks: an actor keeps its GPU, its CUDA context and the images from group to group.

    (Ray ends a process of Ray tasks after each one that uses a GPU.) Actors for which the cluster has no room wait in
    Ray, which starts them on nodes that join.
    """

    def __init__(self, cluster: Cluster, device: str, versions: Mapping[str, str]) -> None:
        remote: Any = ray.remote  # its types do not know an actor's own methods
        resources = dict(cluster.resources or {})
        memory = resources.pop("memory", None)  # an option of its own for Ray
        self._worker = remote(Worker).options(
            num_cpus=cluster.cpus_per_worker,
            num_gpus=cluster.gpus_per_worker,
            memory=memory,
            resources=resources,
            label_selector=cluster.labels,
        )
        self._arguments = (device, dict(versions))
        self._starting: dict[Any, Any] = {}
        self._failures = 0
        self._not_before = 0.0  # when a worker may be started again
        self.idle: list[tuple[Any, bool]] = []  # each with whether it has computed a group

    @property
    def starting(self) -> list[Any]:
        """The references that are ready when a worker has started, for ``ray.wait``."""
        return list(self._starting)

    def scale_to(self, count: int) -> None:
        """Start or end workers until ``count`` are idle or starting; idle ones are ended last."""
        while len(self.idle) + len(self._starting) < count and time.monotonic() >= self._not_before:
            worker = self._worker.remote(*self._arguments)
            self._starting[worker.__ray_ready__.remote()] = worker
        while len(self.idle) + len(self._starting) > count:
            self.end(self._starting.popitem()[1] if self._starting else self.idle.pop()[0])

    def add_ready(self, ready: Any, *, others: bool) -> list[Notice]:
        """Add the worker that has started to the idle ones, or return a notice if too many in a row could not start.

        ``others`` says whether other workers compute.

        Raises
        ------
        EngineError
            If three workers in a row could not start (those of a lost node do not count), and no other worker computes,
            is idle or is starting: a single node on which none starts must not end a sweep on other nodes.
        """
        worker = self._starting.pop(ready)
        try:
            ray.get(ready)
        except ray.exceptions.RayError as error:
            if was_lost_with_node(error):
                return []
            self._failures += 1
            if self._failures < MAX_FAILED_STARTS:
                return []
            if not (others or self.idle or self._starting):
                raise EngineError(f"cluster must have nodes on which a worker starts, got: {error}") from error
            self._not_before = time.monotonic() + START_AGAIN_AFTER
            told = f"{self._failures} workers in a row could not start, the last because: {error}"
            return [Notice(text=told)] if self._failures == MAX_FAILED_STARTS else []
        self._failures = 0
        self.idle.append((worker, False))
        return []

    def end(self, worker: Any) -> None:
        """End a worker, whatever it does."""
        ray.kill(worker)
