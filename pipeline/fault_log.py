"""The log of a sweep's faults: each in full, in a file beside the sweep that is there once there is a fault."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

from pipeline.recorder.address import redact

NAME = "faults.log"


class FaultLog:
    """Appends to the file `NAME` in ``folder``, from any thread; a disk that takes no more costs the log alone."""

    def __init__(self, folder: Path) -> None:
        self.path = folder.absolute() / NAME
        self._lock = threading.Lock()

    def write(self, title: str, text: str = "") -> bool:
        """Append what happened, in a line, and all there is to know of it; return whether it is there."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        lines = redact(f"{now} {title}\n{text}").rstrip()
        try:
            with self._lock, self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{lines}\n")
        except OSError:
            return False
        return True
