"""Joins a Ray cluster, or starts a private one that only this machine can reach."""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import logging
import os
import re
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The workers of a sweep need neither Ray's usage reports nor their question on the terminal.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from pipeline import HOME
from pipeline.config.packages import packages as packages_with_rows
from pipeline.config.schema import Cluster
from pipeline.engine.capacity import Node, require_room
from pipeline.engine.ray_end import report_its_end
from pipeline.engine.ray_private_cluster import LOCAL, start_private
from pipeline.errors import EngineError
from pipeline.signals import deferred

CLIENT = "ray"
"""The scheme of an address of Ray Client."""

CLIENT_TRIES = 3
"""Attempts to connect to a Ray Client server: sometimes the process that it forks does not start (ray#63202)."""

_PROBE_SECONDS = 5.0

_log = logging.getLogger(__name__)


def join_or_start(cluster: Cluster, *, cpus: int, meanwhile: Callable[[], object] = lambda: None) -> bool:
    """Join the cluster that ``cluster`` names, or the one running on this machine, or start one of ``cpus`` CPUs.

    Return whether a cluster was joined. See `start_private` for ``meanwhile``.

    Raises
    ------
    EngineError
        If it cannot be reached, or no node has the resources of a worker.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    given = _given(cluster)
    try:
        address = _address(given)
        here = address == LOCAL or (cluster.address is None and given in {None, "auto"})
        code = _use_local_code() if here else {"runtime_env": _send_code()}
        if address == LOCAL:
            start_private(cpus=cpus, meanwhile=meanwhile, **options, **code)
        else:
            join = _join_through_client if through_client(cluster) else ray.init
            # An exception inside Ray's start would leave its native threads running, and they would crash.
            with deferred("Ray has to answer first"):
                join(address, **options, **code)
                if here and _has_other_machines():  # to send the code takes seconds, which one machine need not wait
                    ray.shutdown()
                    join(address, **options, runtime_env=_send_code())
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        key = "cluster.address" if given == cluster.address else "RAY_ADDRESS"
        token = "" if given in {None, "auto"} else " (one that asks for a token: set RAY_AUTH_MODE=token)"
        raise EngineError(f"{key} must be a Ray cluster in reach, got {given!r}: {error}{token}") from error
    except ray.exceptions.RuntimeEnvSetupError as error:
        raise EngineError(f"the code must be sent to the cluster: {error}") from error
    if not through_client(cluster):
        report_its_end()
    try:
        require_room(nodes(), cluster)
    except BaseException:
        leave()
        raise
    return address != LOCAL


def leave() -> None:
    """Leave the cluster; a private one ends."""
    # Ray ends this process if a reference is freed while it shuts down. The error of a lost worker leaves some to the
    # garbage collector, which any thread may start.
    gc.disable()
    try:
        with deferred("Ray is ending"):
            ray.shutdown()
    finally:
        gc.enable()


def through_client(cluster: Cluster) -> bool:
    """Return whether the address of the cluster is one of Ray Client."""
    return (_given(cluster) or "").startswith(f"{CLIENT}://")


def nodes() -> list[Node]:
    """Return the live nodes of the cluster."""
    every: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [Node(resources=node["Resources"], labels=node["Labels"]) for node in every if node["Alive"]]


def _has_other_machines() -> bool:
    """Return whether the cluster that runs on this machine has others, which do not see this one's files."""
    every: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return any(node["Alive"] and node["NodeManagerHostname"] != socket.gethostname() for node in every)


def _given(cluster: Cluster) -> str | None:
    """Return the address from the config, or else from Ray's own variable, which is set in a submitted job."""
    if cluster.address in {None, "auto"}:
        return os.environ.get("RAY_ADDRESS") or cluster.address
    return cluster.address


def _address(given: str | None) -> str:
    """Return the address of the cluster to join, `LOCAL` for none; Ray would wait for a dead one without end."""
    if given is None or given == "auto":
        # A cluster that crashed leaves its address file behind.
        recorded = _recorded_address()
        if recorded and _answers(recorded):
            return "auto"  # Ray sends its token only to the cluster that it finds itself
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
    if scheme == CLIENT and not re.fullmatch(r".+:\d+", place):  # Ray would try for half a minute
        raise ConnectionError("give ray://HOST:PORT, with the port of the client server, by default 10001")
    if given != LOCAL and not _answers(place):
        raise ConnectionError("nothing answers there")
    return given


def _recorded_address() -> str:
    """Return the address that ``ray start`` has recorded on this machine, empty if there is none."""
    places = ("RAY_TMPDIR", "TMPDIR") if sys.platform.startswith("linux") else ("RAY_TMPDIR",)
    folder = next((os.environ[name] for name in places if name in os.environ), "/tmp")  # noqa: S108  # where Ray's own are
    with contextlib.suppress(OSError):
        return Path(folder, "ray", "ray_current_cluster").read_text(encoding="utf-8").strip()
    return ""


def _join_through_client(address: str, **options: Any) -> None:
    # Ray Client warns before an error with the same message, and about the number of small calls.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"ray\.util\.client")
    for left in reversed(range(CLIENT_TRIES)):
        try:
            ray.init(address, **options)
        except ConnectionAbortedError:
            if not left:
                raise
        else:
            return


def _use_local_code() -> dict[str, Any]:
    """Return the option of ``ray.init`` that lets workers on this machine import the driver's own code."""
    job = ray.job_config.JobConfig
    if "_py_driver_sys_path" in inspect.signature(job).parameters and hasattr(job, "_runtime_env_has_working_dir"):
        return {"job_config": _LocalCode()}
    _log.warning("this version of Ray cannot import local code: the code is sent to the workers, which takes longer")
    return {"runtime_env": _send_code()}


class _LocalCode(ray.job_config.JobConfig):
    """Lets workers that see this machine's files import the driver's own code, and no other.

    By default Ray puts the driver's working folder first on their path, where a ``tasks.py`` or a ``random.py`` of the
    user's may be. It does not if it believes that the workers were given a working directory.
    """

    def __init__(self) -> None:
        super().__init__(_py_driver_sys_path=[str(HOME)])

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def _send_code() -> dict[str, Any] | None:
    """Return the runtime environment that sends the driver's packages to the nodes, None if the job has done so.

    The packages that add rows are sent too; what these import has to be installed on the nodes.

    A job that was submitted with modules cannot send others. Its working directory, where this process is, is on the
    nodes already: what is not in it is sent.
    """
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")).get("runtime_env") or {}
    if "py_modules" in job:
        return None
    packages = [str(HOME / name) for name in ("conf", "pipeline", "tasks")]
    # Without a working directory Ray puts this process's current one first on the workers' path, where a node may have
    # other code. Any folder will do: this is the smallest.
    modules = [*packages, *(str(root) for package in packages_with_rows() for root in package.roots)]
    if "working_dir" not in job:
        return {"working_dir": packages[0], "py_modules": modules}
    lacking = [module for module in modules if not Path(module).is_relative_to(Path.cwd())]
    return {"py_modules": lacking} if lacking else None


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return True  # a name that only Ray can resolve
    try:
        socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), timeout=_PROBE_SECONDS).close()
    except OSError:
        return False
    return True
