"""The worker processes of a sweep on Ray: asked for as groups wait, lent to one group after another."""

from __future__ import annotations

from typing import Any

import ray

from pipeline.config.schema import Cluster
from pipeline.engine.worker import Worker
from pipeline.errors import EngineError

STARTS = 3
"""How often in a row a worker may fail to start."""


class Workers:
    """Ray actors, not Ray tasks: one keeps its GPU, what it has started there and the images from group to group.

    (A process that Ray tasks share may be given another GPU each time, so Ray ends it after one.) Those that the
    cluster has no room for wait at Ray, which takes them to a node that joins.
    """

    def __init__(self, cluster: Cluster, device: str) -> None:
        remote: Any = ray.remote  # its types do not know an actor's own methods
        self._worker = remote(Worker).options(
            num_cpus=cluster.cpus_per_worker,
            num_gpus=cluster.gpus_per_worker,
            resources=cluster.resources,
            label_selector=cluster.labels,
        )
        self._device = device
        self._coming: dict[Any, Any] = {}
        self._failures = 0
        self.idle: list[Any] = []

    @property
    def coming(self) -> list[Any]:
        """What is ready when a worker is, for Ray's wait."""
        return list(self._coming)

    def want(self, count: int) -> None:
        """Ask for workers until so many are idle or coming; let those go that are too many, the idle ones last."""
        while len(self.idle) + len(self._coming) < count:
            worker = self._worker.remote(self._device)
            self._coming[worker.__ray_ready__.remote()] = worker
        while len(self.idle) + len(self._coming) > count:
            self.end(self._coming.popitem()[1] if self._coming else self.idle.pop())

    def came(self, ready: Any) -> None:
        """Take in the worker that is ready.

        Raises
        ------
        EngineError
            If it could not start, nor could those before it.
        """
        worker = self._coming.pop(ready)
        try:
            ray.get(ready)
        except ray.exceptions.RayError as error:
            self._failures += 1
            if self._failures == STARTS:
                raise EngineError(f"cluster must have nodes on which a worker starts, got: {error}") from error
            return
        self._failures = 0
        self.idle.append(worker)

    def end(self, worker: Any) -> None:
        """End a worker, whatever it does."""
        ray.kill(worker)
