"""Why a worker was lost: from Ray's error, the worker's last output and the kernel's counters."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import ray

_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_CAUSE = re.compile(r"receives? a (SIG[A-Z]+)|(exit code \d+)(?!.*receives? a SIG)")
_SIGNAL = re.compile(r"\*\*\* (SIG[A-Z]+) received")
_LAST_BYTES = 20_000
_NO_MESSAGE = "it ended without a message: by SIGKILL, as when the system is out of memory, or by os._exit"


def kernel_kills() -> int:
    """Return how many processes the kernel has killed for lack of memory, 0 where it does not count them."""
    try:
        found = _KILLS.search(Path("/proc/vmstat").read_text(encoding="ascii"))
    except OSError:
        return 0
    return int(found[1]) if found else 0


def why_lost(error: ray.exceptions.RayError, *, host: str, killed_before: int) -> tuple[str, str]:
    """Return why a worker on ``host`` was lost, in a phrase and in full, from the error of its call.

    ``killed_before`` is what `kernel_kills` returned before the loss.
    """
    text = str(error)
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        used = re.search(r"was ([\d.]+ ?[KMGT]?B) used / ([\d.]+ ?[KMGT]?B)", text)
        amount = f", with {used[1]} of {used[2]} in use" if used else ""
        return f"out of memory: Ray's memory monitor ended it{amount}", text
    if found := _CAUSE.search(text):
        return (f"by {found[1]}" if found[1] else found[2]), text
    if "connection error" not in text:
        return _words(error), text
    last = _last_words(text)
    if crashed := _SIGNAL.search(last):
        return f"by {crashed[1]}", f"{last[crashed.start() :]}\n{text}"
    if host == platform.node() and kernel_kills() > killed_before:
        return f"{_NO_MESSAGE}; the system has ended a process for lack of memory meanwhile", text
    return _NO_MESSAGE, text


def was_lost_with_node(error: ray.exceptions.RayError) -> bool:
    """Return whether Ray says that a worker was lost with its whole node."""
    return "its node has died" in str(error)


def _words(error: ray.exceptions.RayError) -> str:
    text = str(error)
    if isinstance(error, ray.exceptions.ActorUnavailableError):  # Ray itself knows why a few seconds later
        return "the connection to it was lost, as when its node or its process has died"
    if re.search(r"\bnode\b.{0,80}\b(died|dead|failed|removed|terminated)\b", text, re.IGNORECASE | re.DOTALL):
        return "its node was lost"
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)


def _last_words(text: str) -> str:
    """Return the end of the process's standard error, empty if it was on another machine."""
    process = re.search(r"pid: (\d+)", text)
    context = ray.get_runtime_context()
    try:
        logs = Path(context.get_temp_dir(), context.get_session_name(), "logs")
        found = next(logs.glob(f"worker-*-{process[1]}.err"), None) if process else None
        return "" if found is None else _end_of(found)
    except (OSError, AttributeError):  # Ray 2.54 does not say where its files are
        return ""


def _end_of(file: Path) -> str:
    """Return the end of a file that may be larger than this process's memory."""
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - _LAST_BYTES))
        return opened.read(_LAST_BYTES).decode(errors="replace")
