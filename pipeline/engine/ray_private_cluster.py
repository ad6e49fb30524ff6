"""A private Ray cluster: it listens on this machine only, and starts only the processes that trials need."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ray

from pipeline.errors import EngineError
from pipeline.signals import deferred

LOCAL = "local"
"""The address of a private cluster."""

_log = logging.getLogger(__name__)

_DISABLED = {"no_monitor": True, "include_log_monitor": False}

_POLL_EVERY = 0.03
_POLL_FOR = 30.0
"""Seconds between two polls for the starting node, and until Ray alone waits for it."""


def start_private(*, cpus: int, meanwhile: Callable[[], object], **options: Any) -> None:
    """Start a private cluster of so many CPUs; ``options`` are those of ``ray.init``.

    ``meanwhile`` is called when this process begins to wait for Ray's others, and has to return at once.

    Raises
    ------
    EngineError
        If it cannot start; the message names the cause.
    """
    try:
        # An exception inside Ray's start would leave its native threads running, and they would crash.
        with deferred("Ray has to start first, to be ended in order"), for_this_driver(meanwhile):
            ray.init(LOCAL, num_cpus=cpus, include_dashboard=False, **options)
    except Exception as error:  # Ray also raises plain Exception
        raise EngineError(_obstacle(error)) from error


def _obstacle(error: Exception) -> str:
    """Return the message for an error in the start of a private cluster."""
    text = str(error) or type(error).__name__
    key = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), "RAY_TMPDIR")
    folder = os.environ.get(key) or tempfile.gettempdir()
    if "AF_UNIX path length" in text:
        return (
            f"{key} must be a folder whose path leaves room for those of Ray's sockets (of 107 bytes), got {folder!r} "
            f"of {len(os.fsencode(folder))}: set RAY_TMPDIR to a shorter one, such as /tmp"
        )
    if isinstance(error, OSError) and error.filename:
        home = os.path.expanduser("~")  # noqa: PTH111  # pathlib raises an error where there is none
        wanted = f"{key} must be a folder that Ray can write to, got {folder!r}"
        if Path(home, ".ray", "auth_token").is_relative_to(error.filename):
            wanted = f"HOME must be a folder that Ray can write to, or RAY_AUTH_TOKEN hold a token for it, got {home!r}"
        return f"{wanted}: {error.strerror or text}"
    if "object store memory" in text:
        return f"memory must be free for a private Ray cluster, for its store of objects at least: {text}"
    return f"a private Ray cluster could not start: {text} (its logs are in {folder}/ray/session_latest/logs)"


@contextlib.contextmanager
def for_this_driver(meanwhile: Callable[[], object]) -> Iterator[None]:
    """Make a cluster that starts in this context listen on 127.0.0.1 only, without the parts for many machines.

    Ray has no option for the address (it replaces ``_node_ip_address="127.0.0.1"`` by the outer one), but does use
    127.0.0.1 on systems whose firewall would ask. The listening sockets of each of its processes were checked.

    Three Python processes are disabled: the autoscaler's monitor, the monitor that forwards what workers print, and the
    head of the dashboard, which would only report usage. They take 1.5 s of CPU to start, and one of them a second to
    end. Ray has options for two of them, but in ``ray start`` only. No node runs without the dashboard's agent, so
    the agent starts as if the dashboard's libraries were missing: it listens on two ports fewer, and this process saves
    0.2 s for their import. Ray polls once a second for its node, which takes 1.5 s to start: here it is polled more
    often, after a call of ``meanwhile``. Names that a version of Ray lacks are left alone, and listed in a warning.

    A terminal that closes sends SIGHUP to all its processes. Ray's processes inherit a signal mask that blocks SIGHUP,
    as Ray makes them block SIGINT, so that the driver can end them in order.
    """
    with contextlib.ExitStack() as swapped:
        replaced: dict[str, Callable[[Any], Any]] = {
            **_REPLACED,
            _POLLING: functools.partial(_polled_soon, meanwhile=meanwhile),
        }
        lacking = [path for path, made in replaced.items() if not _swap(swapped, path, made)]
        if lacking:
            beyond = "; it also listens on the network, to clients that have its token" if _LOOPBACK in lacking else ""
            _log.warning("this Ray has no %s: a private cluster takes longer to start%s", ", ".join(lacking), beyond)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        swapped.callback(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        yield


def _swap(swapped: contextlib.ExitStack, path: str, made: Callable[[Any], Any]) -> bool:
    """Replace an attribute of Ray's by ``made`` of it until ``swapped`` ends; return whether Ray has that attribute."""
    module, _, names = path.partition(":")
    *inner, name = names.split(".")
    try:
        place = functools.reduce(getattr, inner, importlib.import_module(module))
        before = getattr(place, name)
        after = made(before)
    except (ImportError, AttributeError):
        return False
    swapped.callback(setattr, place, name, before)
    setattr(place, name, after)
    return True


def _reduced_parameters(parameters: Any) -> Any:
    """Return the class of Ray's parameters with those of `_DISABLED` that it has."""
    known = inspect.signature(parameters).parameters
    return functools.partial(parameters, **{name: value for name, value in _DISABLED.items() if name in known})


def _polled_soon(get_node: Callable[[str, str], Any], *, meanwhile: Callable[[], object]) -> Callable[[str, str], Any]:
    """Return ``get_node``, called once the node has started: called earlier, it polls only after another second."""
    made: Any = importlib.import_module("ray._private.state").GlobalState
    options_for: Any = importlib.import_module("ray._private.services")._get_gcs_client_options  # noqa: SLF001  # as Ray does in get_node

    def get(gcs_address: str, node_id: str) -> Any:
        meanwhile()
        state = made()
        state._initialize_global_state(options_for(gcs_address))  # noqa: SLF001
        end = time.monotonic() + _POLL_FOR
        while node_id not in {node["NodeID"] for node in state.node_table()} and time.monotonic() < end:
            time.sleep(_POLL_EVERY)
        return get_node(gcs_address, node_id)

    return get


_LOOPBACK = "ray._private.ray_constants:ENABLE_RAY_CLUSTER"
_POLLING = "ray._private.services:get_node"

_REPLACED: Mapping[str, Callable[[Any], Any]] = {
    _LOOPBACK: lambda _: False,
    "ray._private.parameter:RayParams": _reduced_parameters,
    "ray._private.node:Node.start_api_server": lambda _: lambda *_, **__: None,
    "ray._private.utils:get_dashboard_dependency_error": lambda _: lambda: ImportError("there is no dashboard"),
}
"""Ray's private attributes, beside `_POLLING`, and what replaces each while a private cluster starts."""
