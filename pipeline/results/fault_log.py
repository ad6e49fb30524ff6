"""The log of a sweep's faults, each in full: a file in the sweep's folder, created with the first fault."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

from pipeline.address import redact

NAME = "faults.log"
LONGEST = 300
"""The most characters of an error in a line; the log holds the whole."""


class FaultLog:
    """Appends to the file `NAME` in ``folder``, from any thread; a full disk costs the log only."""

    def __init__(self, folder: Path) -> None:
        self.path = folder.absolute() / NAME
        self._lock = threading.Lock()

    def write(self, title: str, text: str = "") -> bool:
        """Append a fault: a line, and its text in full. Return whether it could be written."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        lines = redact(f"{now} {title}\n{text}").rstrip()
        try:
            with self._lock, self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{lines}\n")
        except OSError:
            return False
        return True


def brief(error: object) -> str:
    """Return the first line of an error's message, shortened in the middle if it is long, without credentials."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    text = redact(lines[0])
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
