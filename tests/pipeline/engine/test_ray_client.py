import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from pipeline.errors import EngineError
from tests.pipeline.disturbed import Sweep, assert_equal
from tests.pipeline.serving import free_port

pytestmark = pytest.mark.slow


class Head:
    """A cluster of two CPUs, started as a user would, and what a client elsewhere needs to reach it."""

    def __init__(self, folder):
        port = free_port()
        self.address = f"ray://127.0.0.1:{port}"
        self.token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "4f" * 32}
        plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        ray = Path(sys.executable).with_name("ray")
        # The process that the server forks for a client may not start (ray#63202): try again after 10 s instead of 30.
        tried = {"RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "10"}
        start = [ray, "start", "--head", "--block", "--port=0", "--num-cpus=2", "--include-dashboard=false"]
        self.process = subprocess.Popen(
            [*start, f"--ray-client-server-port={port}"],
            env={**plain, **self.token, **tried, "RAY_TMPDIR": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 90
        while not self._answers(port):
            assert time.monotonic() < deadline, "Ray did not start"
            time.sleep(0.2)

    def _answers(self, port):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def actors(self):
        """Return the processes of the actors that live."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if self._title(child).startswith(("ray::Relay", "ray::Worker"))]

    def _title(self, process):
        try:
            return " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            return ""

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)


@pytest.fixture(scope="module")
def head():
    folder = Path(tempfile.mkdtemp(prefix="r.", dir="/tmp"))  # Ray's sockets need a short path
    head = Head(folder)
    yield head
    head.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sweep(tmp_path, empty_store, head):
    """A sweep whose driver knows of the cluster only its address and its token."""
    return Sweep(tmp_path, empty_store, pause=0.08, **head.token)


def assert_gone(head):
    """Wait until no actor lives; the client's end is known in the cluster a moment after it."""
    _, alive = psutil.wait_procs(head.actors(), timeout=10)
    assert alive == []


def existing(head):
    return "cluster=existing", f"cluster.address={head.address}"


def test_an_interrupt_ends_the_sweep_and_leaves_no_actor(sweep, head):
    process = sweep.kill(*existing(head), checkpoints=(1, 1), number=0)
    assert len(head.actors()) == 3
    process.send_signal(signal.SIGINT)

    _, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert err.splitlines()[-1] == "stopped: SIGINT"
    assert sweep.statuses()[0] == ["KILLED"]
    assert_gone(head)


def test_a_sweep_whose_relay_is_lost_says_so_and_is_resumed_to_the_same_record(sweep, head, undisturbed):
    one = *existing(head), "cluster.workers=1"
    process = sweep.kill(*one, checkpoints=(1,), number=0)
    (relay,) = [actor for actor in head.actors() if "Relay" in actor.cmdline()[0]]
    relay.kill()

    _, err = process.communicate(timeout=60)

    assert process.returncode == 2
    assert err.startswith("error: cluster must stay in reach and have what this package needs, got: ")
    assert_gone(head)

    code, out, err = sweep.resume(*one)

    assert code == 0, err
    assert err == ""
    assert "2 to go on from a checkpoint" in out
    assert_equal(sweep.results(), undisturbed)


def test_groups_that_the_relay_cannot_read_are_not_waited_for(computing, cluster):
    from pipeline.config.schema import Cluster
    from pipeline.engine.protocol import run
    from pipeline.engine.ray_client import ClientEngine

    groups = computing.groups_of(computing.planned(1), task=computing.Elsewhere())
    refused = "cluster must .* have what this package needs, got: System error: No module named 'that_is_not_there'"

    engine = ClientEngine(Cluster(address=cluster), workers=1, device="cpu")
    with engine, pytest.raises(EngineError, match=refused):
        list(run(engine, groups, computing.DATASET))


def test_another_version_of_ray_is_refused_before_anything_is_recorded(tmp_path, empty_store, head):
    sweep = Sweep(tmp_path, empty_store, CONSTANTS=json.dumps({"ray.__version__": "2.1.0"}), **head.token)

    code, _, err = sweep.run(*existing(head))

    assert code == 2
    assert f"cluster.address must be a Ray cluster in reach, got '{head.address}': Version mismatch" in err
    assert "Ray: 2.1.0" in err
    assert sweep.statuses() == ([], {})
