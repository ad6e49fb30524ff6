"""Processes that draw."""

import errno
import operator
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest

from pipeline.figures.drawers import DrawingProcesses

DRIVER = """
import os
from pipeline.figures.drawers import DrawingProcesses

drawers = DrawingProcesses(1)
print(drawers.submit(os.getpid).result(), flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module", autouse=True)
def server():
    """The server that forks is one for the whole process: these tests have one of their own."""
    one = forkserver._forkserver
    before = list(one._preload_modules)
    one._stop()
    yield one
    one._stop()
    one._preload_modules = before


@pytest.fixture
def drawers():
    drawers = DrawingProcesses(2)
    yield drawers
    drawers.close()


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pids(drawers):
    """Return the processes of both threads: while one of them is busy the other is asked."""
    return {drawn.result() for drawn in [drawers.submit(slow_pid) for _ in range(2)]}


def slow_pid():
    time.sleep(0.5)
    return os.getpid()


def has_matplotlib():
    return "matplotlib.figure" in sys.modules


def killed_once(file):
    """Draw, but for the first time, when the process ends."""
    if not Path(file).exists():
        Path(file).touch()
        os._exit(1)
    return {"loss.png": b"png"}


def test_two_processes_draw_side_by_side_and_have_ended_when_they_are_closed(drawers):
    found = pids(drawers)

    assert len(found - {os.getpid()}) == 2
    assert all(map(is_alive, found))
    drawers.close()
    assert not any(map(is_alive, found))


def test_what_draws_is_imported_before_it_is_asked_for(drawers):
    drawers.start()

    assert drawers.submit(has_matplotlib).result()


def test_one_process_imports_and_the_others_are_forked_from_it(drawers, server):
    assert {psutil.Process(pid).ppid() for pid in pids(drawers)} == {server._forkserver_pid}


def test_processes_that_are_started_and_asked_for_nothing_end(drawers, server):
    drawers.start()
    drawers.start()
    drawers.close()
    drawers.start()

    assert psutil.Process(server._forkserver_pid).children() == []


def test_where_no_process_can_be_started_figures_fail_and_nothing_else(drawers, monkeypatch):
    def full(*_, **__):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(forkserver, "connect_to_new_process", full)
    drawers.start()

    with pytest.raises(RuntimeError, match="the process that drew a figure has ended"):
        drawers.submit(dict).result()
    monkeypatch.undo()
    assert drawers.submit(dict).result() == {}


def test_a_figure_that_cannot_be_drawn_says_why_and_the_next_is_drawn(drawers):
    broken = drawers.submit(operator.truediv, 1, 0)

    with pytest.raises(RuntimeError, match="ZeroDivisionError: division by zero"):
        broken.result()
    assert drawers.submit(dict, [("loss.png", b"png")]).result() == {"loss.png": b"png"}


def test_what_a_library_writes_is_no_answer(drawers):
    assert drawers.submit(os.write, 1, b"a warning\n").result() == 10


def test_a_figure_whose_process_is_killed_is_drawn_by_another(drawers, tmp_path):
    assert drawers.submit(killed_once, str(tmp_path / "once")).result() == {"loss.png": b"png"}


def test_a_figure_is_drawn_though_every_process_was_killed_before(drawers):
    for pid in pids(drawers):
        os.kill(pid, signal.SIGKILL)

    assert drawers.submit(dict, [("loss.png", b"png")]).result() == {"loss.png": b"png"}


def test_figures_beside_one_that_kills_every_process_are_drawn(drawers):
    killing = drawers.submit(os._exit, 1)
    others = [drawers.submit(dict, [("loss.png", b"png")]) for _ in range(20)]

    assert [other.result() for other in others] == [{"loss.png": b"png"}] * 20
    assert killing.exception() is not None


def test_a_figure_that_kills_every_process_fails_alone(drawers):
    with pytest.raises(RuntimeError, match="the process that drew a figure has ended"):
        drawers.submit(os._exit, 1).result()

    assert drawers.submit(dict, [("loss.png", b"png")]).result() == {"loss.png": b"png"}


def test_what_cannot_be_sent_fails_alone(drawers):
    with pytest.raises(TypeError, match="cannot pickle"):
        drawers.submit(dict, threading.Lock()).result()

    assert drawers.submit(dict).result() == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_that_stop_a_sweep_let_its_figures_be_drawn(drawers, number):
    (pid, *_) = pids(drawers)

    os.kill(pid, number)
    time.sleep(0.2)

    assert is_alive(pid)
    assert os.getpgid(pid) != os.getpgid(0)  # a terminal's do not even reach it
    assert os.getsid(pid) == os.getsid(0)  # Linux shares CPU out by sessions


def test_what_stands_in_the_current_folder_is_not_imported(drawers, tmp_path, monkeypatch):
    (tmp_path / "tasks.py").write_text("raise RuntimeError('some other tasks')")
    monkeypatch.chdir(tmp_path)

    assert drawers.submit(dict).result() == {}


def test_a_driver_that_is_killed_leaves_no_process_and_no_socket(tmp_path):
    told = tmp_path / "pid"
    with tempfile.TemporaryDirectory(prefix="") as temporary:  # a path that is short enough for a socket
        with told.open("w") as file:
            environment = {**os.environ, "TMPDIR": temporary}
            command = [sys.executable, "-c", DRIVER]
            end = subprocess.run(command, stdout=file, stderr=file, check=False, timeout=60, env=environment)

        assert end.returncode == -signal.SIGKILL
        deadline = time.monotonic() + 10
        while is_alive(int(told.read_text())):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert told.read_text().strip().isdecimal()  # it says nothing
        assert list(Path(temporary).iterdir()) == []
