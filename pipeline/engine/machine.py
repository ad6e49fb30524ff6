"""What this process may use of its machine: CPUs and memory, in a container as much as it is limited to."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
"""Where a container sees its own limits (cgroup v2); outside of one there are none."""


def cpu_count() -> int:
    """Return how many CPUs this process may use: a quota of one and a half are two."""
    visible = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, period = _limit("cpu.max") or ("max", "")
    return visible if quota == "max" else max(1, min(visible, math.ceil(int(quota) / int(period))))


def memory() -> int:
    """Return how many bytes of memory there are for this process and those beside it."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    (limit,) = _limit("memory.max") or ("max",)
    return whole if limit == "max" else min(whole, int(limit))


def _limit(name: str) -> list[str]:
    """Return the words of a file of limits, none if there is no such file."""
    try:
        return (_CGROUP / name).read_text(encoding="ascii").split()
    except OSError:
        return []
