"""Memory of a command's processes while it runs: PSS, which gives each process its share of what it shares."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

EVERY = 0.2
MEGABYTE = 1e6


@dataclass(slots=True)
class Peaks:
    """Peaks in MB: the own memory of each Ray worker by its process, what is shared by all, and everything."""

    workers: dict[int, float] = field(default_factory=dict)
    shared: float = 0.0
    total: float = 0.0

    def look(self) -> None:
        """Look at the processes that descend from this one, this one not among them."""
        shared = total = 0.0
        for process in descendants(os.getpid()):
            with contextlib.suppress(OSError, KeyError):  # it has ended
                pss = proportional(process)
                shared += pss["Pss_Shmem"]
                total += pss["Pss"]
                if Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"ray::"):
                    own = pss["Pss"] - pss["Pss_Shmem"]
                    self.workers[process] = max(own, self.workers.get(process, 0.0))
        self.shared, self.total = max(self.shared, shared), max(self.total, total)


@contextlib.contextmanager
def watched() -> Iterator[Peaks]:
    """Watch the commands that are run meanwhile."""
    peaks, over = Peaks(), threading.Event()

    def watch() -> None:
        while not over.wait(EVERY):
            peaks.look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


def proportional(process: int) -> dict[str, float]:
    """Return the PSS of a process in MB, whole and by kind."""
    found = {}
    for line in Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition(":")
        if name.startswith("Pss"):
            found[name] = int(rest.split()[0]) * 1024 / MEGABYTE
    return found


def descendants(root: int) -> list[int]:
    """Return the processes that descend from a process."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    waiting = list(children.get(root, ()))
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting += children.get(process, ())
    return found
