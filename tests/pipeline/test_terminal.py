"""What a person does to a sweep at a terminal: its keys reach every process in it, and its window can be closed."""

import shutil
import socket
import sys
import time

import pytest

from tests.pipeline.commands import UNDRAWN
from tests.pipeline.terminal import CTRL_C, Terminal
from tests.stores import stored

pytestmark = pytest.mark.slow

SWEEP = ("-m", "dataset=synthetic", "steps=1000000", "seed=1,2", "cluster.address=local", "cluster.workers=1")

NOHUP = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.executable, sys.argv[1:])"

AT_ITS_WORST = """
import sys, time
import ray

made = ray._raylet.CoreWorker

def make(*arguments, **options):
    worker = made(*arguments, **options)
    print("Ray has threads of its own", flush=True)
    time.sleep(1.0)
    return worker

ray._raylet.CoreWorker = make
from pipeline.cli.app import main
main()
"""

HALF_IMPORTED = """
import sys, time

class Slow:
    def find_spec(name, *_):
        if name == "ray.internal":
            print("Ray has registered what it does at exit", flush=True)
            time.sleep(1.0)

sys.meta_path.insert(0, Slow)
from pipeline.cli.app import main
main()
"""

SLOW_DATA = """
import time
from tasks.datasets.synthetic import Synthetic

def load(self, progress):
    for done in range(1000):
        progress(done, 1000)
        time.sleep(0.05)

Synthetic.load = load
from pipeline.cli.app import main
main()
"""

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def test_ctrl_c_in_the_middle_of_rays_start_ends_it_in_order(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path)
    with Terminal(["-c", AT_ITS_WORST, *SWEEP], tmp_path) as terminal:
        terminal.wait_for("Ray has threads of its own")
        terminal.press(CTRL_C)

        assert terminal.wait() == 130
        assert "stopping: Ray has to start first, to be ended in order; a second signal ends at once" in terminal.said
        assert "stopped: SIGINT" in terminal.said
        assert terminal.left(after=5) == []
    assert statuses(tmp_path) == []  # nothing is recorded of a sweep that has not started


def test_ctrl_c_while_ray_is_imported_ends_without_what_ray_would_say(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path)
    with Terminal(["-c", HALF_IMPORTED, *SWEEP], tmp_path) as terminal:
        terminal.wait_for("Ray has registered what it does at exit")
        terminal.press(CTRL_C)

        assert terminal.wait() == 130
    assert "Traceback" not in terminal.said
    assert terminal.said.splitlines()[-1].endswith("stopped: SIGINT")


def test_ctrl_c_while_data_are_loaded_gives_the_cursor_back(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path)
    with Terminal(["-c", SLOW_DATA, *SWEEP, "engine=inprocess"], tmp_path) as terminal:
        terminal.wait_for("loading data")
        terminal.press(CTRL_C)

        assert terminal.wait() == 130
    assert 0 <= terminal.said.rfind(HIDE) < terminal.said.rfind(SHOW)
    assert terminal.said.splitlines()[-1].endswith("stopped: SIGINT")


@pytest.mark.parametrize("after", [0.0, 0.5, 2.5])
def test_ctrl_c_at_any_moment_of_the_start_ends_with_130_and_leaves_nothing(tmp_path, empty_store, after):
    shutil.copy(empty_store, tmp_path)
    with Terminal(["-m", "pipeline", *SWEEP], tmp_path) as terminal:
        while not (tmp_path / "multirun").exists():  # Python itself has been started and imported what it needs
            time.sleep(0.02)
        time.sleep(after)
        terminal.press(CTRL_C)

        assert terminal.wait() == 130
        assert "Traceback" not in terminal.said
        assert terminal.left(after=5) == []
    assert {status for _, status in statuses(tmp_path)} <= {"KILLED"}


def test_a_second_ctrl_c_ends_at_once_although_ray_waits_for_what_does_not_answer(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path)
    with socket.create_server(("", 0)) as silent:  # no cluster, but something listens
        silent.settimeout(60)
        address = f"cluster.address=127.0.0.1:{silent.getsockname()[1]}"
        with Terminal(["-m", "pipeline", *SWEEP, address], tmp_path) as terminal:
            asked = [silent.accept() for _ in range(2)]  # whether somebody is there, and by Ray
            time.sleep(0.5)
            terminal.press(CTRL_C)
            time.sleep(1.0)  # two that come as one are one
            terminal.press(CTRL_C)

            assert terminal.wait(timeout=5) == 130
            for connection, _ in asked:
                connection.close()


def test_a_terminal_that_is_closed_stops_the_sweep_in_order(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path)
    with Terminal(["-m", "pipeline", *SWEEP], tmp_path) as terminal:
        terminal.wait_for("2 running")
        terminal.close()

        terminal.wait()
        assert terminal.left(after=5) == []
    assert [status for _, status in statuses(tmp_path)] == ["KILLED"] * 3


def test_nohup_lets_a_sweep_outlive_its_terminal(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path)
    short = [*SWEEP, "steps=3000", "engine=inprocess", "tracking.register_model=false"]
    with Terminal(["-c", NOHUP, sys.executable, "-c", UNDRAWN, *short], tmp_path) as terminal:
        terminal.wait_for("0 failed")
        terminal.close()

        terminal.wait()
    assert [status for _, status in statuses(tmp_path)] == ["FINISHED"] * 3


def statuses(folder):
    return stored(folder, "SELECT name, status FROM runs")
