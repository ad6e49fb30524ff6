"""The entry of every command: the import of what the command needs takes a second, and Ctrl-C may interrupt it."""

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
