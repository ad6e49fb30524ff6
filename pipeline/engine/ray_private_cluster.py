"""A private Ray cluster: what it starts listens on this machine only, and is no more than trials need."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray

from pipeline.errors import EngineError
from pipeline.signals import deferred

LOCAL = "local"
"""The address of a private cluster."""

_ENDED = b"Ray's own process has ended, which ends this one: go on with the same command and sweep.resume=true\n"

_log = logging.getLogger(__name__)

_LEFT_OUT = {"no_monitor": True, "include_log_monitor": False}

_LOOK_EVERY = 0.03
_LOOK_FOR = 30.0
"""Seconds between two looks for the node that starts, and until Ray alone waits for it."""


def start_private(*, cpus: int, **options: Any) -> None:
    """Start a private cluster of so many CPUs; ``options`` are those of ``ray.init``.

    Raises
    ------
    EngineError
        If it cannot start: the message says what stands in its way.
    """
    try:
        # Ray's compiled code has threads of its own by then: they outlive an exception in its middle, and crash.
        with deferred("Ray has to start first, to be ended in order"), for_this_driver():
            ray.init(LOCAL, num_cpus=cpus, include_dashboard=False, **options)
    except Exception as error:  # Ray raises bare ones, too
        raise EngineError(_obstacle(error)) from error
    threading.Thread(target=_tell_of_its_end, daemon=True).start()


def _tell_of_its_end() -> None:
    """Wait for the end of Ray's process on this node, and say what to do if nobody has asked for it.

    Ray then ends this process too, from its compiled code and without a word.
    """
    try:
        node = importlib.import_module("ray._private.worker")._global_node  # noqa: SLF001
        process = node.all_processes["raylet"][0].process
    except (ImportError, AttributeError, LookupError):
        return  # its end is not told
    process.wait()
    if ray.is_initialized():
        with contextlib.suppress(OSError):  # a terminal that has been closed
            os.write(2, _ENDED)


def _obstacle(error: Exception) -> str:
    """Return what stands in the way of a private cluster, by the error that its start ended in."""
    text = str(error) or type(error).__name__
    key = next((name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)), "RAY_TMPDIR")
    folder = os.environ.get(key) or tempfile.gettempdir()
    if "AF_UNIX path length" in text:
        return (
            f"{key} must be a folder whose path leaves room for those of Ray's sockets (of 107 bytes), got {folder!r} "
            f"of {len(os.fsencode(folder))}: set RAY_TMPDIR to a shorter one, such as /tmp"
        )
    if isinstance(error, OSError) and error.filename:
        return f"{key} must be a folder that Ray can write to, got {folder!r}: {error.strerror or text}"
    if "object store memory" in text:
        return f"memory must be free for a private Ray cluster, for its store of objects at least: {text}"
    return f"a private Ray cluster could not start: {text} (its logs are in {folder}/ray/session_latest/logs)"


@contextlib.contextmanager
def for_this_driver() -> Iterator[None]:
    """Start what is started in here on 127.0.0.1, and without what a cluster of many machines and drivers has.

    Ray knows no setting for the address (it turns ``_node_ip_address="127.0.0.1"`` into the outer one) but does so
    itself on systems whose firewall would ask; what listens was looked at in each of its processes.

    Left out are the monitor of an autoscaler, the one that sends what workers print to drivers, and the head of the
    dashboard, which would report usage only: three processes of Python that take a second and a half of CPU to start,
    and one of them a second to end. Ray has settings for two of them, but in ``ray start`` alone. And Ray looks once a
    second whether its node is there, which takes one and a half: here it is looked for more often. What a version of
    Ray has under none of these names is left as it is, and named.

    A terminal that is closed sends SIGHUP to all that was started in it: Ray's processes inherit that it is blocked,
    as Ray itself has them block SIGINT, so that the driver ends them in order.
    """
    with contextlib.ExitStack() as swapped:
        lacking = [path for path, made in _REPLACED.items() if not _swap(swapped, path, made)]
        if lacking:
            beyond = "" if _LOOPBACK not in lacking else "; it is heard beyond this machine, by who has its token"
            _log.warning("this Ray has no %s: a private cluster takes longer to start%s", ", ".join(lacking), beyond)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        swapped.callback(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        yield


def _swap(swapped: contextlib.ExitStack, path: str, made: Callable[[Any], Any]) -> bool:
    """Put what ``made`` makes of a name of Ray's in its place until ``swapped`` ends; return whether Ray has it."""
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


def _lean(parameters: Any) -> Any:
    """Return the class of Ray's parameters, made to leave out what it knows of `_LEFT_OUT`."""
    known = inspect.signature(parameters).parameters
    return functools.partial(parameters, **{name: value for name, value in _LEFT_OUT.items() if name in known})


def _soon(get_node: Callable[[str, str], Any]) -> Callable[[str, str], Any]:
    """Return ``get_node``, asked once the node is there: if it is not, it waits a second to look again."""
    made: Any = importlib.import_module("ray._private.state").GlobalState
    options_for: Any = importlib.import_module("ray._private.services")._get_gcs_client_options  # noqa: SLF001  # as Ray does in get_node

    def get(gcs_address: str, node_id: str) -> Any:
        state = made()
        state._initialize_global_state(options_for(gcs_address))  # noqa: SLF001
        end = time.monotonic() + _LOOK_FOR
        while node_id not in {node["NodeID"] for node in state.node_table()} and time.monotonic() < end:
            time.sleep(_LOOK_EVERY)
        return get_node(gcs_address, node_id)

    return get


_LOOPBACK = "ray._private.ray_constants:ENABLE_RAY_CLUSTER"

_REPLACED: Mapping[str, Callable[[Any], Any]] = {
    _LOOPBACK: lambda _: False,
    "ray._private.parameter:RayParams": _lean,
    "ray._private.node:Node.start_api_server": lambda _: lambda *_, **__: None,
    "ray._private.services:get_node": _soon,
}
"""Names that are Ray's own, and what stands in the place of each while a private cluster starts."""
