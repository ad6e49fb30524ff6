"""Signals stop a sweep wherever its main thread is."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import Future
from importlib.util import find_spec

import pytest

from pipeline.errors import Interrupted
from pipeline.signals import StopSignals, deferred, raise_swallowed
from tests.pipeline import commands
from tests.pipeline.packaging import install

INTERRUPTED = """
import runpy, signal, sys

class Interrupting:
    def find_spec(name, path, target=None):
        if name in {"typing", "tasks.errors"}:  # the first that takes a moment, and one of ours
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what is in the background without it
sys.meta_path.insert(0, Interrupting)
runpy.run_module(sys.argv[1], run_name="__main__")
"""


FORKING = """
import multiprocessing, time
from pipeline.signals import StopSignals

with StopSignals():
    children = [multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,)) for _ in range(30)]
    for child in children:
        child.start()
        child.terminate()
    for child in children:
        child.join()
    print({child.exitcode for child in children})
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


def test_a_signal_to_a_child_process_is_the_childs():
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "{-15}\n", "")


def test_a_handler_that_a_library_installs_while_signals_are_deferred_is_not_used():
    # given a library that installs a handler of its own when it starts, as Ray does
    def start():
        with StopSignals(), deferred("it has to start first"):
            signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
            # when a signal comes before it has started
            signal.raise_signal(signal.SIGTERM)
            started.append(True)

    started = []
    # then it starts, and after it the sweep is stopped as ever
    with pytest.raises(Interrupted, match="SIGTERM"):
        start()
    assert started


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


ENDLESS = """
from dataclasses import dataclass
from pathlib import Path
from tasks.single import Single

@dataclass(frozen=True, slots=True, kw_only=True)
class Fit(Single):
    patience = 0.1

    def train(self, trial, data, report):
        import torch
        layers = torch.nn.Sequential(torch.nn.Conv2d(1, 16, 3), torch.nn.ReLU(), torch.nn.Conv2d(16, 1, 3))
        while True:
            layers(torch.randn(64, 1, 16, 16)).square().mean().backward()
            Path("begun").touch()
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_a_pytorch_loop_that_does_not_end_is_left_without_an_abort(tmp_path, empty_store):
    site, rows = tmp_path / "site", "[descent_sweeps.tasks]\nendless = endless:Fit\n"
    install(site, "endless", ENDLESS, rows)
    here = tmp_path / "here"
    here.mkdir()
    shutil.copy(empty_store, here)
    command = [sys.executable, "-m", "pipeline", "task=endless"]
    with subprocess.Popen(
        command, cwd=here, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": f"{commands.ROOT}:{site}"}
    ) as process:
        deadline = time.monotonic() + 120
        while not (here / "begun").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)

    assert process.returncode == 128 + signal.SIGINT
    assert told.decode().rstrip().endswith("stopped: SIGINT")
