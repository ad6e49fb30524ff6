"""Joining a Ray cluster, or starting a private one that only this machine can reach."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The workers of a sweep need neither Ray's usage reports nor their question on the terminal.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray._private import ray_constants
from ray._private.utils import read_ray_address  # where `ray start` notes its cluster

import pipeline
from pipeline.errors import EngineError
from pipeline.schema import Cluster

LOCAL = "local"

_PROBE_SECONDS = 5.0


def connect(cluster: Cluster, *, cpus: int) -> None:
    """Join the cluster that ``cluster`` names, or the one running on this machine, or start one of ``cpus`` CPUs.

    Raises
    ------
    EngineError
        If it cannot be reached, or none of its nodes has what a worker needs.
    """
    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": "ERROR",
        # The workers import the very code that the driver runs, installed or not.
        "job_config": ray.job_config.JobConfig(_py_driver_sys_path=[str(Path(pipeline.__path__[0]).parent)]),
    }
    try:
        address = _address(cluster)
        if address == LOCAL:
            with _on_loopback():
                ray.init(LOCAL, num_cpus=max(cpus, os.cpu_count() or 1), include_dashboard=False, **options)
        else:
            ray.init(address, **options)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise EngineError(
            f"cluster.address must be a Ray cluster in reach, got {cluster.address!r}: {error}"
        ) from error
    try:
        _require_resources(cluster)
    except BaseException:
        ray.shutdown()
        raise


def _address(cluster: Cluster) -> str:
    """Return the address of the cluster to join, `LOCAL` for none; Ray would wait for a dead one without end."""
    given = cluster.address if cluster.address not in (None, "auto") else os.environ.get("RAY_ADDRESS")
    if given is None or given == "auto":
        # A cluster that was not stopped in order leaves its note behind.
        noted = read_ray_address()
        if noted and _answers(noted):
            return str(noted)
        if "auto" in (given, cluster.address):
            raise ConnectionError("no cluster runs on this machine")
        return LOCAL
    if given != LOCAL and not _answers(given):
        raise ConnectionError("nothing answers there")
    return given


def _answers(address: str) -> bool:
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        return True  # a name that only Ray can resolve
    try:
        socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), timeout=_PROBE_SECONDS).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Start what is started in here on 127.0.0.1, where only this machine can reach it.

    Ray knows no setting for it (it turns ``_node_ip_address="127.0.0.1"`` into the outer address) but does so
    itself on systems whose firewall would ask; what listens was looked at in each of its processes.
    """
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _require_resources(cluster: Cluster) -> None:
    """Raise where no node has what one worker needs: Ray would wait for such a node for ever."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    needed = {"CPU": cluster.cpus_per_worker, "GPU": cluster.gpus_per_worker}
    if any(all(node.get(kind, 0) >= count for kind, count in needed.items()) for node in nodes):
        return
    keys = {"CPU": "cluster.cpus_per_worker", "GPU": "cluster.gpus_per_worker"}
    kind = next((kind for kind in needed if all(node.get(kind, 0) < needed[kind] for node in nodes)), "CPU")
    has = "; ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
    raise EngineError(
        f"{keys[kind]} must be at most what a node of the cluster has, got {needed[kind]:g}: its nodes have {has}"
    )
