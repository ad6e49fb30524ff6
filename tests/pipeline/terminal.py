"""A program in a pseudo-terminal of its own, whose keys signal its whole foreground process group."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
CTRL_C = b"\x03"

# What a terminal is to a program: it leads the session that the terminal controls, and hears of its end, whether these
# tests themselves do or were started with nohup.
_LEAD = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, sys.argv[1:])
"""


class Terminal:
    """``python ARGUMENTS`` in ``folder``, started in a terminal.

    Processes that it leaves behind are found by the mark in their environment, whoever their parent is.
    """

    def __init__(self, arguments, folder, **environment):
        self._mark = f"{folder}-{time.time_ns()}"
        self._keys, theirs = os.openpty()
        self.said = ""
        command = [sys.executable, "-c", _LEAD, sys.executable, *map(str, arguments)]
        told = {**os.environ, "PYTHONPATH": str(ROOT), "TERMINAL_MARK": self._mark, **environment}
        self.process = subprocess.Popen(
            command, cwd=folder, env=told, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process in self.left():
            process.kill()
        self.process.wait()
        if self._keys is not None:
            os.close(self._keys)

    def press(self, key):
        os.write(self._keys, key)

    def close(self):
        """Close the terminal, as one closes its window."""
        os.close(self._keys)
        self._keys = None

    def wait_for(self, text, timeout=120):
        deadline = time.monotonic() + timeout
        while text not in self.said:
            assert self._read() or time.monotonic() < deadline, self.said
            assert self.process.poll() is None or self._read(), self.said

    def wait(self, timeout=120):
        """Return the exit code, negative for a signal."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.said
            if self._keys is None:
                time.sleep(0.05)
            else:
                self._read()
        while self._keys is not None and self._read(0):
            pass
        return self.process.returncode

    def left(self, after=0.0):
        """Return the processes that have not ended, ``after`` seconds later at the latest."""
        deadline = time.monotonic() + after
        while (found := [process for process in psutil.process_iter() if self._is_ours(process)]) and (
            time.monotonic() < deadline
        ):
            time.sleep(0.1)
        return found

    def _is_ours(self, process):
        try:
            return process.environ().get("TERMINAL_MARK") == self._mark
        except psutil.Error:
            return False

    def _read(self, seconds=0.1):
        """Take in what the program has said; return whether it has said anything."""
        if not select.select([self._keys], [], [], seconds)[0]:
            return False
        try:
            said = os.read(self._keys, 65536)
        except OSError:  # nobody has the other end any more
            time.sleep(0.05)
            return False
        self.said += said.decode(errors="replace")
        return bool(said)
