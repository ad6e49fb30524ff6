"""The entry of every command: the import of what the command needs takes a second, and Ctrl-C may interrupt it."""

from __future__ import annotations

import importlib
import os
import select
import signal
import sys


def run_command(module: str) -> None:
    """Import a module, run its function ``main``, and exit with what it returns.

    The exit code is 130 after Ctrl-C, and 141 where nobody reads the output any more, as with ``| head``. An error that
    nobody expected is told with its deepest frames (``HYDRA_FULL_ERROR=1``: all of them), and the exit code is 1.
    """
    try:
        try:
            code = importlib.import_module(module).main()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        print("stopped: interrupted", file=sys.stderr)  # noqa: T201  # this is a command
        code = 128 + signal.SIGINT
    except BrokenPipeError:
        if not is_unread():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python would try to write at its end
        code = 128 + signal.SIGPIPE
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        from pipeline.raised import Raised  # noqa: PLC0415  # most commands end without an error

        told = Raised.of(error)
        print(f"{told.frames}error: {told.error} (HYDRA_FULL_ERROR=1 shows all frames)", file=sys.stderr)  # noqa: T201
        code = 1
    sys.exit(code)


def is_unread() -> bool:
    """Return whether the standard output is a pipe that nobody reads any more."""
    output = select.poll()
    output.register(sys.stdout, 0)
    return any(event & select.POLLERR for _, event in output.poll(0))
