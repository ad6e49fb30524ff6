"""Says how to go on when Ray's process on this node ends: Ray's native code then ends this process, with no message."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import threading

import ray

_ENDED = b"Ray's own process has ended, which ends this one: go on with the same command and sweep.resume=true\n"


def report_its_end() -> None:
    """Report, from now on, the end of Ray's process on this node, if this process has not left the cluster before.

    A connection to it ends with it: a process that this one did not start cannot be waited for.
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        node = importlib.import_module("ray._private.worker")._global_node  # noqa: SLF001
        connection.connect(node.raylet_socket_name)
    except (ImportError, AttributeError, TypeError, OSError):
        connection.close()
        return  # this version of Ray has other names: its end is not reported
    threading.Thread(target=_wait_and_report, args=[connection], daemon=True).start()


def _wait_and_report(connection: socket.socket) -> None:
    with connection, contextlib.suppress(ConnectionError):
        connection.recv(1)
    if ray.is_initialized():
        with contextlib.suppress(OSError):  # a terminal that has been closed
            os.write(2, _ENDED)
