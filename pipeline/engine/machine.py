"""What this process may use of its machine: CPUs, memory, as its container or its job limits them, and libraries."""

from __future__ import annotations

import contextlib
import math
import os
from importlib import metadata
from pathlib import Path, PurePosixPath

_CGROUP = Path("/sys/fs/cgroup")
"""Where the limits of control groups are (cgroup v2); a container sees its own."""

_OWN_GROUP = Path("/proc/self/cgroup")
"""Says in which group this process is: under Slurm or systemd in one below those of its job."""


def cpu_count() -> int:
    """Return how many CPUs this process may use: a quota of one and a half are two."""
    visible = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [math.ceil(int(quota) / int(period)) for quota, period in _limits("cpu.max") if quota != "max"]
    return max(1, min([visible, *quotas]))


def memory() -> int:
    """Return how many bytes of memory there are for this process and those beside it."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([whole, *(int(limit) for (limit,) in _limits("memory.max") if limit != "max")])


def version_of(name: str) -> str | None:
    """Return the version of a library, None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _limits(name: str) -> list[list[str]]:
    """Return the words of a file of limits, of the process's group and of those above it, which limit it as well."""
    try:
        lines = _OWN_GROUP.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    own = PurePosixPath(next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), ""))
    found = []
    for group in (own, *own.parents):
        with contextlib.suppress(OSError):
            found.append((_CGROUP / group / name).read_text(encoding="ascii").split())
    return found
