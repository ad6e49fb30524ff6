import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import pytest
from ray.exceptions import RuntimeEnvSetupError

from pipeline.config.schema import Cluster
from pipeline.engine.ray_cluster import LOCAL, _address, _given, _recorded_address, _send_code, join_or_start
from pipeline.errors import EngineError
from tests.pipeline import commands
from tests.pipeline.serving import free_port

ROOT = Path(__file__).parents[3]


@pytest.fixture
def note(tmp_path, monkeypatch):
    """Where Ray notes the cluster that runs on this machine."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


@pytest.fixture(autouse=True)
def environment():
    """Leave nothing behind that Ray sets, such as RAY_AUTH_MODE: a later cluster's commands would ask it for tokens."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture
def closed():
    """An address at which nothing answers."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        yield f"127.0.0.1:{held.getsockname()[1]}"


def test_a_cluster_that_died_and_left_its_note_is_not_waited_for(note, closed):
    note.write_text(closed)

    assert _address(_given(Cluster())) == LOCAL


def test_the_note_is_read_where_ray_writes_it(note, monkeypatch):
    from ray._private.utils import read_ray_address

    assert _recorded_address() == ""
    note.write_text("127.0.0.1:1\n")
    assert _recorded_address() == read_ray_address() == "127.0.0.1:1"
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setenv("TMPDIR", str(note.parents[1]))
    assert _recorded_address() == read_ray_address() == "127.0.0.1:1"


def test_a_cluster_that_runs_on_this_machine_is_joined(note):
    with socket.create_server(("127.0.0.1", 0)) as server:
        note.write_text(f"127.0.0.1:{server.getsockname()[1]}")

        assert _address(_given(Cluster())) == "auto"
        assert _address(_given(Cluster(address="local"))) == LOCAL


@pytest.mark.parametrize("others", [(), ("elsewhere",)])
def test_the_code_is_sent_to_the_cluster_of_this_machine_if_it_has_others(note, monkeypatch, others):
    # given the nodes of a cluster that was found on this machine, one of which has ended
    hosts = {socket.gethostname(): True, "ended": False} | dict.fromkeys(others, True)
    nodes = [
        {"NodeManagerHostname": host, "Alive": alive, "Resources": {"CPU": 2.0}, "Labels": {}}
        for host, alive in hosts.items()
    ]
    joined, left = [], []
    monkeypatch.setattr("ray.init", lambda address, **options: joined.append(options))
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    monkeypatch.setattr("ray.shutdown", lambda: left.append(len(joined)))
    with socket.create_server(("127.0.0.1", 0)) as server:
        note.write_text(f"127.0.0.1:{server.getsockname()[1]}")
        assert join_or_start(Cluster(), cpus=1)

    sent = [[Path(module).name for module in (one.get("runtime_env") or {}).get("py_modules", [])] for one in joined]
    assert [modules[:3] for modules in sent] == [[], *([["conf", "pipeline", "tasks"]] if others else [])]
    assert left == ([1] if others else [])


def test_code_that_cannot_be_sent_is_one_clear_error(note, monkeypatch):
    large = "Failed to upload module /a to the Ray cluster: Package size (600.00MiB) exceeds the maximum size"

    def init(address, **options):
        raise RuntimeEnvSetupError(large)

    monkeypatch.setattr("ray.init", init)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

        with pytest.raises(EngineError) as error:
            join_or_start(Cluster(address=address), cpus=1)

    assert str(error.value).startswith("the code must be sent to the cluster: ")
    assert large in str(error.value)


@pytest.mark.parametrize(
    ("job", "folder", "sent"),
    [
        ({"working_dir": "gcs://job.zip"}, ".", ["conf", "pipeline", "tasks"]),
        ({"working_dir": "gcs://job.zip"}, ROOT, []),
        ({"working_dir": "gcs://job.zip", "py_modules": ["gcs://own.zip"]}, ".", []),
        ({"py_modules": ["gcs://own.zip"]}, ".", []),
    ],
)
def test_a_job_sends_the_code_that_is_not_in_its_working_directory(tmp_path, monkeypatch, job, folder, sent):
    monkeypatch.setattr("pipeline.engine.ray_cluster.packages_with_rows", lambda: ())
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": job}))
    monkeypatch.chdir(tmp_path / folder)

    environment = _send_code()

    assert [Path(module).name for module in (environment or {"py_modules": []})["py_modules"]] == sent
    assert "working_dir" not in (environment or {})


@pytest.mark.slow
def test_a_cluster_of_machines_that_asks_for_the_users_token_is_joined(tmp_path, monkeypatch):
    # given a user with a token, and a cluster that the user has started as README says (its sockets need a short path)
    short = Path(tempfile.mkdtemp(prefix="r."))
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    ray = Path(sys.executable).with_name("ray")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("4f" * 32)
    start = [ray, "start", "--head", "--block", "--port=0", "--num-cpus=2", "--include-dashboard=false"]
    start.append(f"--ray-client-server-port={free_port()}")  # else it is 10001, which another cluster may have
    note = short / "ray" / "ray_current_cluster"
    with contextlib.ExitStack() as running:
        running.callback(shutil.rmtree, short, ignore_errors=True)
        first, second = tmp_path / "first.log", tmp_path / "second.log"
        running.enter_context(_machine(start, first))
        _wait(lambda: note.exists() and note.read_text(), first)
        start = [ray, "start", f"--address={note.read_text()}", "--block", "--num-cpus=1", '--resources={"second": 1}']
        running.enter_context(_machine(start, second, RAY_AUTH_MODE="token"))
        _wait(lambda: "Ray runtime started" in second.read_text(), second)
        # when a sweep is run that wants what the second machine has
        sweep = ["-m", "dataset=synthetic", "steps=5", "seed=1,2"]
        options = ["cluster=existing", "cluster.resources={second: 0.5}", "tracking.register_model=false"]
        end = commands.run(["-m", "pipeline", *sweep, *options], tmp_path)
    # then it is computed there
    assert end.returncode == 0, end.stderr
    assert "2/2 trials, 0 running, 0 failed" in end.stdout


@contextlib.contextmanager
def _machine(start, log, **environment):
    """Have a machine of a cluster run, and stop it."""
    told = {**os.environ, **environment}
    with log.open("w") as out, subprocess.Popen(start, env=told, stdout=out, stderr=out) as machine:
        try:
            yield
        finally:
            machine.terminate()


def _wait(what, log):
    deadline = time.monotonic() + 90
    while not what():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_answers_is_named_at_once(closed, scheme):
    began = time.monotonic()

    with pytest.raises(EngineError) as error:
        join_or_start(Cluster(address=f"{scheme}{closed}"), cpus=1)

    expected = f"cluster.address must be a Ray cluster in reach, got '{scheme}{closed}': nothing answers there"
    assert str(error.value).startswith(expected)

    assert time.monotonic() - began < 10


@pytest.mark.parametrize("address", ["ray://", "ray://127.0.0.1", "ray://:10001", "ray://head:client"])
def test_a_client_server_without_its_host_or_port_is_refused_at_once(address):
    with pytest.raises(EngineError, match=f"got '{address}': give ray://HOST:PORT, with the port of the client"):
        join_or_start(Cluster(address=address), cpus=1)


def test_the_address_of_the_dashboard_is_refused_with_what_to_do(note, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")

    with pytest.raises(EngineError) as error:
        join_or_start(Cluster(), cpus=1)

    assert "RAY_ADDRESS must be a Ray cluster in reach, got 'http://head:8265'" in str(error.value)
    assert "ray job submit -- python -m pipeline" in str(error.value)


def test_a_client_without_its_packages_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "grpc", None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"ray://127.0.0.1:{server.getsockname()[1]}"

        with pytest.raises(EngineError, match=r"pip install ray\[client\]"):
            join_or_start(Cluster(address=address), cpus=1)


def test_auto_wants_a_running_cluster(note):
    with pytest.raises(EngineError, match="no cluster runs on this machine"):
        join_or_start(Cluster(address="auto"), cpus=1)


def started(folder, **environment):
    """Return how a sweep ends whose private cluster starts with these variables; here Ray's token would stay."""
    sweep = ["-m", "dataset=synthetic", "steps=5", "seed=1,2", "cluster.address=local"]
    end = commands.run(["-m", "pipeline", *sweep], folder, **environment)
    return end.returncode, end.stderr


@pytest.mark.slow
def test_a_private_cluster_whose_sockets_have_no_room_says_so(tmp_path):
    folder = tmp_path / ("x" * 80)
    folder.mkdir()

    assert started(tmp_path, RAY_TMPDIR=str(folder)) == (
        2,
        (
            f"error: RAY_TMPDIR must be a folder whose path leaves room for those of Ray's sockets (of 107 bytes), "
            f"got {str(folder)!r} of {len(str(folder))}: set RAY_TMPDIR to a shorter one, such as /tmp\n"
        ),
    )


@pytest.mark.slow
def test_a_private_cluster_without_a_folder_says_so(tmp_path):
    file = tmp_path / "file"
    file.touch()

    told = f"error: RAY_TMPDIR must be a folder that Ray can write to, got {str(file)!r}: Not a directory\n"
    assert started(tmp_path, RAY_TMPDIR=str(file)) == (2, told)


@pytest.mark.slow
@pytest.mark.parametrize("home", ["/proc", "/proc/nobody"])
def test_a_private_cluster_without_a_home_folder_for_its_token_says_so(tmp_path, home):
    told = (
        "error: HOME must be a folder that Ray can write to, or RAY_AUTH_TOKEN hold a token for it, "
        f"got {home!r}: No such file or directory\n"
    )
    assert started(tmp_path, HOME=home) == (2, told)
    assert started(tmp_path, HOME=home, RAY_AUTH_TOKEN="0" * 32)[0] == 0


POOR = """
from pipeline.engine.ray_private_cluster import start_private
start_private(cpus=1, meanwhile=lambda: None, object_store_memory=1_000_000)  # as where there is hardly any
"""


@pytest.mark.slow
def test_a_private_cluster_without_memory_says_so():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", POOR], env=environment, stderr=subprocess.PIPE, text=True) as process:
        _, err = process.communicate(timeout=120)

    last = err.splitlines()[-1]
    assert "EngineError: memory must be free for a private Ray cluster, for its store of objects at least: " in last
    assert "the minimum allowed is 78643200 bytes" in last
