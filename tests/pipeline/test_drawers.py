"""Processes that draw."""

import operator
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.drawers import Processes

DRIVER = """
import os
from pipeline.drawers import Processes

drawers = Processes(1)
pid = drawers.submit(os.getpid).result()
print(pid, flush=True)
drawers.submit(__import__("time").sleep, 0.5)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def drawers():
    drawers = Processes(2)
    yield drawers
    drawers.close()


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_several_processes_draw_and_have_ended_when_they_are_closed(drawers):
    slow = [drawers.submit(time.sleep, 1) for _ in range(2)]
    pids = [drawers.submit(os.getpid).result() for _ in range(4)]

    assert [drawn.result() for drawn in slow] == [None, None]
    assert os.getpid() not in pids
    drawers.close()
    assert not any(map(is_alive, pids))


def test_a_figure_that_cannot_be_drawn_says_why_and_the_next_is_drawn(drawers):
    broken = drawers.submit(operator.truediv, 1, 0)

    with pytest.raises(RuntimeError, match="ZeroDivisionError: division by zero"):
        broken.result()
    assert drawers.submit(dict, [("loss.png", b"png")]).result() == {"loss.png": b"png"}


def test_what_a_library_prints_is_no_figure(drawers):
    assert drawers.submit(print, "a warning").result() is None


def test_a_process_that_ends_fails_its_figure_only(drawers):
    with pytest.raises(RuntimeError, match="the process that drew a figure has ended"):
        drawers.submit(os._exit, 1).result()

    assert drawers.submit(dict, [("loss.png", b"png")]).result() == {"loss.png": b"png"}


def test_a_terminals_interrupt_reaches_none(drawers):
    pid = drawers.submit(os.getpid).result()

    assert os.getpgid(pid) != os.getpgid(0)


def test_a_driver_that_is_killed_leaves_no_process():
    end = subprocess.run([sys.executable, "-c", DRIVER], capture_output=True, text=True, check=False)

    assert end.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while is_alive(int(end.stdout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(int(end.stdout))
    assert "Traceback" not in end.stderr
