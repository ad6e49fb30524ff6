"""The engine for a driver outside the cluster: a relay inside collects the reports, Ray Client fetches them."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Self

import ray

from pipeline.config.schema import Cluster
from pipeline.engine.ray_cluster import join_or_start, leave
from pipeline.engine.ray_engine import RayEngine, put
from pipeline.errors import EngineError
from pipeline.plan.plan import Group
from pipeline.reports import Report
from tasks.cost import DataSize
from tasks.datasets.dataset import Dataset

SEND_EVERY = 0.3
"""Seconds for which reports are collected before they are sent."""

AHEAD = 2
"""The calls in flight at once: the next reports are collected while the previous ones travel."""


class Relay:
    """A process on the cluster's head node that runs the engine there, and collects the reports for a client."""

    def __init__(self, cluster: Cluster, options: dict[str, Any]) -> None:
        self._engine = RayEngine(cluster, **options)
        self._engine.start(joined=True)
        self._submitted = 0

    def size(self) -> int:
        """Return the number of workers."""
        return self._engine.size

    def use(self, data: list[Any], data_size: DataSize) -> None:
        """Set the reference to the data set; it is in a list, since Ray resolves a reference that is an argument."""
        self._engine.use(data[0], data_size)

    def submit(self, groups: Sequence[Group], *, last: bool) -> None:
        """Submit groups to the engine."""
        self._engine.submit(groups, last=last)
        self._submitted += 1

    def reports(self) -> tuple[list[Report], int, int]:
        """Return the reports of `SEND_EVERY` seconds, the number of workers, and how many submissions are done.

        The last number is 0 while any group is being computed.
        """
        gathered: list[Report] = []
        until = time.monotonic() + SEND_EVERY
        for reports in self._engine.batches():
            gathered += reports
            if time.monotonic() >= until:
                return gathered, self._engine.size, 0
        return gathered, self._engine.size, self._submitted


class ClientEngine:
    """Computes groups like `RayEngine`, whose ``options`` it takes, on a cluster at a ``ray://`` address.

    Ray Client cannot forward streams, so a `Relay` in the cluster reads those of the workers. The relay ends with the
    client, and the workers with the relay.
    """

    def __init__(self, cluster: Cluster, **options: Any) -> None:
        self._cluster = cluster
        self._options = options
        self._relay: Any = None
        self._submitted = 0
        self._unanswered: list[Any] = []  # the calls that submit, of which it is not known whether they succeed
        self._size: int = options["workers"]

    def __enter__(self) -> Self:
        join_or_start(self._cluster, cpus=0)
        remote: Any = ray.remote  # its types do not know an actor's own methods
        # On the head node, since this client's data and its connection depend on it too.
        head = remote(Relay).options(num_cpus=0, resources={"node:__internal_head__": 0.001})
        self._relay = head.remote(self._cluster, self._options)
        try:
            with _engine_errors():
                self._size = ray.get(self._relay.size.remote())  # a cluster without room fails before there is a record
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
        """The number of workers, as the relay last returned it."""
        return self._size

    def load(self, dataset: Dataset) -> None:
        """Send the data to the cluster, once."""
        with _engine_errors():
            ray.get(self._relay.use.remote([put(dataset)], DataSize.of(dataset)))

    def submit(self, groups: Sequence[Group], *, last: bool) -> None:
        """Submit groups to the relay."""
        with _engine_errors():
            self._unanswered.append(self._relay.submit.remote(ray.put(list(groups)), last=last))
        self._submitted += 1

    def reports(self) -> Iterator[Report]:
        """Compute the groups and yield the reports as they come.

        Raises
        ------
        EngineError
            If the connection or the relay is lost.
        """
        with _engine_errors():
            coming = deque(self._ask() for _ in range(AHEAD))
            done = -1
            while done < self._submitted:
                *_, (reports, self._size, done) = ray.get(coming.popleft())
                coming.append(self._ask())
                yield from reports

    def _ask(self) -> list[Any]:
        """Ask the relay for reports; return this call after the calls that submitted groups, which end before it.

        If the relay cannot read a call's groups, that call raises: their reports would be waited for without end.
        """
        calls, self._unanswered = [*self._unanswered, self._relay.reports.remote()], []
        return calls


@contextlib.contextmanager
def _engine_errors() -> Iterator[None]:
    """Raise the relay's own errors as they are, and any other fault as an `EngineError`."""
    try:
        yield
    except (ConnectionError, ray.exceptions.RayError) as error:
        fault: Any = error
        if isinstance(error, ray.exceptions.RayTaskError):
            if not isinstance(error.cause, ray.exceptions.RayError):
                raise error.cause from error
            fault = str(error.cause).splitlines()[0]  # what the relay was sent could not be read there
        raise EngineError(f"cluster must stay in reach and have what this package needs, got: {fault}") from error
