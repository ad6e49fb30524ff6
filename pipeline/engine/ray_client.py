"""The engine for a driver outside the cluster: its messages are heard in there, and fetched through Ray Client."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Self

import ray

from pipeline.config.schema import Cluster
from pipeline.engine.ray_cluster import connect, leave
from pipeline.engine.ray_engine import RayEngine, put
from pipeline.errors import EngineError
from pipeline.plan.plan import Group
from pipeline.reports import Report
from tasks.cost import Extent
from tasks.datasets.dataset import Dataset

EVERY = 0.3
"""Seconds that reports are gathered before they are sent: the cluster waits for no answer from far away in them."""

AHEAD = 2
"""Calls on their way at once: the next reports are gathered while those before travel."""


class Relay:
    """A process on the head of the cluster that computes with its workers, and gathers the reports for a client."""

    def __init__(self, cluster: Cluster, settings: dict[str, Any]) -> None:
        self._engine = RayEngine(cluster, **settings)
        self._engine.start(follows=cluster.workers is None)
        self._submitted = 0

    def use(self, data: list[Any], extent: Extent) -> None:
        """Take in the reference to a data set in a list: outside of one Ray would resolve it."""
        self._engine.use(data[0], extent)

    def submit(self, groups: Sequence[Group], *, last: bool) -> None:
        """Take in groups to compute."""
        self._engine.submit(groups, last=last)
        self._submitted += 1

    def reports(self) -> tuple[list[Report], int, int]:
        """Return what is reported within the next `EVERY` seconds, and how many workers there are.

        Last comes of how many submissions all is reported.
        """
        gathered: list[Report] = []
        until = time.monotonic() + EVERY
        for reports in self._engine.turns():
            gathered += reports
            if time.monotonic() >= until:
                return gathered, self._engine.size, 0
        return gathered, self._engine.size, self._submitted


class ClientEngine:
    """Computes the groups as `RayEngine` does, whose ``settings`` it takes, on a cluster at a ``ray://`` address.

    Ray Client cannot pass on streams, so who listens to the workers is a `Relay` in the cluster. It ends with the
    client, and the workers with it.
    """

    def __init__(self, cluster: Cluster, **settings: Any) -> None:
        self._cluster = cluster
        self._settings = settings
        self._relay: Any = None
        self._submitted = 0
        self._size: int = settings["workers"]

    def __enter__(self) -> Self:
        connect(self._cluster, cpus=0)
        remote: Any = ray.remote  # its types do not know an actor's own methods
        # On the head, since this client's data and its connection end there too.
        head = remote(Relay).options(num_cpus=0, resources={"node:__internal_head__": 0.001})
        self._relay = head.remote(self._cluster, self._settings)
        try:
            with _told():
                ray.get(self._relay.__ray_ready__.remote())  # what the cluster lacks is known before there is a record
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster, which ends the relay and the workers."""
        leave()

    @property
    def size(self) -> int:
        """How many workers there are, or are to be, as the relay said last."""
        return self._size

    def load(self, dataset: Dataset) -> None:
        """Take in the data, which travel to the cluster once."""
        with _told():
            ray.get(self._relay.use.remote([put(dataset)], Extent.of(dataset)))

    def submit(self, groups: Sequence[Group], *, last: bool) -> None:
        """Take in groups to compute."""
        with _told():
            self._relay.submit.remote(ray.put(list(groups)), last=last)
        self._submitted += 1

    def reports(self) -> Iterator[Report]:
        """Compute the groups and yield the reports as they come.

        Raises
        ------
        EngineError
            If the connection or the relay is lost.
        """
        with _told():
            coming = deque(self._relay.reports.remote() for _ in range(AHEAD))
            heard = -1
            while heard < self._submitted:
                reports, self._size, heard = ray.get(coming.popleft())
                coming.append(self._relay.reports.remote())
                yield from reports


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Raise what the relay raises as what it was in there, and any other fault as an `EngineError`."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except (ConnectionError, ray.exceptions.RayError) as error:
        raise EngineError(f"cluster must stay in reach and have what this package needs, got: {error}") from error
