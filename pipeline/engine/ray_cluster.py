"""Joining a Ray cluster, or starting a private one that only this machine can reach."""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import os
import socket
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The workers of a sweep need neither Ray's usage reports nor their question on the terminal.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from pipeline import HOME
from pipeline.config.packages import packages as packages_with_rows
from pipeline.config.schema import Cluster
from pipeline.engine.capacity import Node, require_room
from pipeline.engine.ray_private_cluster import LOCAL, start_private
from pipeline.errors import EngineError
from pipeline.signals import deferred

CLIENT = "ray"
"""The scheme of an address of Ray Client."""

CLIENT_TRIES = 3
"""How often the server of Ray Client is asked: now and then the process that it forks does not start (ray#63202)."""

_PROBE_SECONDS = 5.0

_log = logging.getLogger(__name__)


def connect(cluster: Cluster, *, cpus: int) -> bool:
    """Join the cluster that ``cluster`` names, or the one running on this machine, or start one of ``cpus`` CPUs.

    Return whether a cluster was joined.

    Raises
    ------
    EngineError
        If it cannot be reached, or none of its nodes has what a worker needs.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    given = _given(cluster)
    try:
        address = _address(given)
        if address == LOCAL:
            start_private(cpus=cpus, **_code_here(), **options)
        else:
            # Ray's compiled code has threads of its own by then: they outlive an exception in its middle, and crash.
            with deferred("Ray has to answer first"):
                _join(cluster, given, address, options)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        key = "cluster.address" if given == cluster.address else "RAY_ADDRESS"
        token = "" if given in {None, "auto"} else " (one that asks for a token: set RAY_AUTH_MODE=token)"
        raise EngineError(f"{key} must be a Ray cluster in reach, got {given!r}: {error}{token}") from error
    try:
        require_room(nodes(), cluster)
    except BaseException:
        leave()
        raise
    return address != LOCAL


def leave() -> None:
    """Leave the cluster; a private one ends as well."""
    with deferred("Ray is ending"):
        ray.shutdown()


def through_client(cluster: Cluster) -> bool:
    """Return whether the address of the cluster is one of Ray Client."""
    return (_given(cluster) or "").startswith(f"{CLIENT}://")


def nodes() -> list[Node]:
    """Return the nodes that the cluster has now."""
    every: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [Node(resources=node["Resources"], labels=node["Labels"]) for node in every if node["Alive"]]


def _given(cluster: Cluster) -> str | None:
    """Return the address that is asked for, by the config or else by Ray's own variable, which a job has set."""
    if cluster.address in {None, "auto"}:
        return os.environ.get("RAY_ADDRESS") or cluster.address
    return cluster.address


def _address(given: str | None) -> str:
    """Return the address of the cluster to join, `LOCAL` for none; Ray would wait for a dead one without end."""
    if given is None or given == "auto":
        # A cluster that was not stopped in order leaves its note behind.
        noted = _noted()
        if noted and _answers(noted):
            return "auto"  # Ray shows its token to the cluster that it finds itself, and to no other
        if given == "auto":
            raise ConnectionError("no cluster runs on this machine")
        return LOCAL
    scheme, _, place = given.rpartition("://")
    if scheme not in {"", CLIENT}:
        raise ConnectionError(
            "that is the address of the dashboard, for Ray's job commands: give HOST:PORT of the cluster's head from a "
            "machine in its network, or ray://HOST:PORT of its client server from any other, or submit the command as "
            "a job, ray job submit -- python -m pipeline ..."
        )
    if given != LOCAL and not _answers(place):
        raise ConnectionError("nothing answers there")
    return given


def _noted() -> str:
    """Return the address of the cluster that ``ray start`` has noted on this machine, of none an empty text."""
    places = ("RAY_TMPDIR", "TMPDIR") if sys.platform.startswith("linux") else ("RAY_TMPDIR",)
    folder = next((os.environ[name] for name in places if name in os.environ), "/tmp")  # noqa: S108  # where Ray's own are
    with contextlib.suppress(OSError):
        return Path(folder, "ray", "ray_current_cluster").read_text(encoding="utf-8").strip()
    return ""


def _join(cluster: Cluster, given: str | None, address: str, options: Mapping[str, Any]) -> None:
    if given in {None, "auto"} and cluster.address is None:
        ray.init(address, **_code_here(), **options)
    elif address.startswith(f"{CLIENT}://"):
        _join_through_client(address, runtime_env=_this_code(), **options)
    else:
        ray.init(address, runtime_env=_this_code(), **options)


def _join_through_client(address: str, **options: Any) -> None:
    # It warns before an error that says the same, and after hours of small calls that they are many.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"ray\.util\.client")
    for left in reversed(range(CLIENT_TRIES)):
        try:
            ray.init(address, **options)
        except ConnectionAbortedError:
            if not left:
                raise
        else:
            return


def _code_here() -> dict[str, Any]:
    """Return the option of ``ray.init`` that lets workers on this machine import the very code that the driver runs."""
    job = ray.job_config.JobConfig
    if "_py_driver_sys_path" in inspect.signature(job).parameters and hasattr(job, "_runtime_env_has_working_dir"):
        return {"job_config": _ThisFolder()}
    _log.warning("this Ray is told in another way where code is: it is sent to the workers, which takes longer")
    return {"runtime_env": _this_code()}


class _ThisFolder(ray.job_config.JobConfig):
    """Lets workers that see this machine's files import the very code that the driver runs, and from nowhere else.

    Ray would have them look first into the folder that the driver was started in, where a ``tasks.py`` or a
    ``random.py`` of the user's may lie; it does not where it believes that they have been given a folder.
    """

    def __init__(self) -> None:
        super().__init__(_py_driver_sys_path=[str(HOME)])

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def _this_code() -> dict[str, Any] | None:
    """Return what lets workers anywhere import the very code that the driver runs: its packages, sent to the nodes.

    With them go the packages that add rows; what these need beside has to be on the nodes.

    A job that was submitted with a folder or modules has its code there already.
    """
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")).get("runtime_env") or {}
    if "working_dir" in job or "py_modules" in job:
        return None
    packages = [str(HOME / name) for name in ("conf", "pipeline", "tasks")]
    # Without a working directory Ray has the workers look first into this process's current one, where a node
    # may have other code; the smallest of the packages does.
    rows = [str(root) for package in packages_with_rows() for root in package.roots]
    return {"working_dir": packages[0], "py_modules": [*packages, *rows]}


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return True  # a name that only Ray can resolve
    try:
        socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), timeout=_PROBE_SECONDS).close()
    except OSError:
        return False
    return True
