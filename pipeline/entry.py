"""The entry of every command: what it needs is imported here, which takes a second in which it may be interrupted."""

from __future__ import annotations

import importlib
import signal
import sys


def run_command(module: str) -> None:
    """Import a module, run its function ``main``, and exit with what it returns, or with 130 after Ctrl-C."""
    try:
        code = importlib.import_module(module).main()
    except KeyboardInterrupt:
        print("stopped: interrupted", file=sys.stderr)  # noqa: T201  # this is a command
        code = 128 + signal.SIGINT
    sys.exit(code)
