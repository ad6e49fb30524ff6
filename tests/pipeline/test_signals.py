"""Signals stop a sweep wherever its main thread is."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import Future

import pytest

from pipeline.errors import Interrupted
from pipeline.signals import StopSignals, raise_swallowed

INTERRUPTED = """
import runpy, signal, sys

class Interrupting:
    def find_spec(name, path, target=None):
        if name == "tasks.errors":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupting)
runpy.run_module(sys.argv[1], run_name="__main__")
"""


class Watched:
    """Something that a weak reference can be told of."""


def test_a_signal_that_comes_while_a_weak_reference_calls_back_is_not_lost():
    def go_and_wait():
        with StopSignals():
            watched = Watched()
            reference = weakref.ref(watched, lambda _: signal.raise_signal(signal.SIGINT))
            del watched
            time.sleep(10)
            return reference

    with pytest.raises(Interrupted):
        go_and_wait()


def test_a_signal_whose_exception_a_library_has_caught_is_raised_where_the_sweep_begins():
    def begin():
        with StopSignals():
            with contextlib.suppress(BaseException):
                signal.raise_signal(signal.SIGTERM)
            with StopSignals():
                raise_swallowed()

    with pytest.raises(Interrupted):
        begin()
    raise_swallowed()  # the next sweep of the process begins anew


def test_a_signal_leaves_no_lock_of_the_library_taken():
    def look_at(future):
        stopping = threading.Timer(0.005, signal.raise_signal, (signal.SIGTERM,))
        with StopSignals():
            stopping.start()
            while True:
                future.done()

    for _ in range(30):
        future = Future()
        with pytest.raises(Interrupted):
            look_at(future)
        ending = threading.Thread(target=future.set_result, args=(None,), daemon=True)
        ending.start()
        ending.join(5)
        assert not ending.is_alive()


@pytest.mark.parametrize("command", ["", ".backfill", ".deploy", ".new", ".report", ".reproduce"])
def test_ctrl_c_while_a_command_imports_what_it_needs_is_a_line_and_no_traceback(command):
    run = [sys.executable, "-c", INTERRUPTED, f"pipeline{command}"]
    end = subprocess.run(run, capture_output=True, text=True, check=False)

    assert (end.returncode, end.stderr) == (130, "stopped: interrupted\n")
