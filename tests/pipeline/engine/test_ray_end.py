"""The end of Ray's process on a node is told of, whoever started it."""

import socket
from types import SimpleNamespace

import pytest
import ray

from pipeline.engine import ray_end


@pytest.fixture
def raylet(tmp_path, monkeypatch):
    """Ray's process on this node, as a socket that this process connects to."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "raylet"))
        listening.listen()
        listening.settimeout(10)
        node = SimpleNamespace(raylet_socket_name=str(tmp_path / "raylet"))
        monkeypatch.setattr("ray._private.worker._global_node", node)
        yield listening


@pytest.fixture
def waited(monkeypatch):
    """The threads that are started in the test."""
    started = []

    class Thread(ray_end.threading.Thread):
        def start(self):
            started.append(self)
            super().start()

    monkeypatch.setattr(ray_end.threading, "Thread", Thread)
    return started


@pytest.mark.parametrize("joined", [True, False])
def test_the_end_of_rays_process_is_told_of_unless_the_cluster_has_been_left(
    raylet, waited, monkeypatch, capfd, joined
):
    monkeypatch.setattr(ray, "is_initialized", lambda: joined)

    ray_end.report_its_end()
    connection, _ = raylet.accept()
    assert capfd.readouterr().err == ""
    connection.close()
    (thread,) = waited
    thread.join(10)

    said = "Ray's own process has ended, which ends this one: go on with the same command and sweep.resume=true\n"
    assert capfd.readouterr().err == (said if joined else "")


def test_where_the_process_cannot_be_found_nothing_waits_for_it(waited, monkeypatch):
    monkeypatch.setattr("ray._private.worker._global_node", None)

    ray_end.report_its_end()

    assert waited == []
