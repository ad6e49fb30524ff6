"""Nothing from outside is run, nothing listens to outside, and no password is told."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import pytest
import yaml

from pipeline import provenance, resuming
from pipeline.checkpoints import Checkpoints
from pipeline.complaints import complaint
from pipeline.recorder import artifacts
from pipeline.recorder.protocol import RecordError
from pipeline.schema import parse
from tasks.errors import ConfigError

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
SECRET = f"pass{os.getpid()}word"  # of this process alone, since a record holds the uncommitted source of these tests
SMALL = ("dataset=synthetic", "steps=20", "batch_size=32", "engine=inprocess")


# --- Nothing in a config is imported or run.

EVIL = "os.mkdir"


@pytest.mark.parametrize(
    "config",
    [
        {"_target_": EVIL, "path": "evil"},
        {"loss": {"_target_": EVIL, "path": "evil"}},
        {"loss": {"name": "svm", "_target_": EVIL, "path": "evil"}},
        {"loss": {"name": EVIL}},
        {"loss": EVIL},
        {"task": {"name": "tasks.train.Train"}},
        {"dataset": {"name": "os", "root": "evil"}},
        {"strategy": {"name": "random", "__class__": EVIL}},
        {"trial": {"__reduce__": [EVIL, ["evil"]]}},
        {"cluster": {"_target_": EVIL, "_args_": ["evil"]}},
        {"device": EVIL},
        {"engine": "pipeline.engine.ray_engine.RayEngine"},
    ],
    ids=str,
)
def test_a_recorded_config_that_names_code_is_refused_and_runs_nothing(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_dump(config).encode()

    with pytest.raises(ConfigError):
        parse(artifacts.read_config(content, artifacts.digest_of(content)))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"!!python/object/apply:os.mkdir [evil]", b"a: !!python/name:os.mkdir", b"!!python/module:os {}"]
)
def test_a_recorded_config_that_builds_objects_is_refused_and_builds_none(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(RecordError, match="must hold plain values"):
        artifacts.read_config(content, artifacts.digest_of(content))

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_record_names_keeps_what_is_not_a_checkpoint(tmp_path):
    # given a record that says the user's own folder holds the checkpoints
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    (tmp_path / "0123-000000000001.checkpoint").write_text("of the sweep")

    Checkpoints(tmp_path).close(done=True)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]
    assert (tmp_path / "thesis" / "chapter.tex").exists()


# --- No password is told.


def test_what_is_printed_and_recorded_of_a_command_line_has_no_password(monkeypatch):
    line = ["pipeline", "-m", f"tracking.uri=postgresql://ann:{SECRET}@host/db", "seed=1,2"]
    monkeypatch.setattr(sys, "argv", line)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", *line])

    told = [resuming.resume_command(), provenance.collect()[0]["command"], complaint(ValueError("something"))]

    for text in told:
        assert "tracking.uri=postgresql://***@host/db" in text
        assert SECRET not in text


SESSION = """
import contextlib, io, json, sys
from pipeline.app import main

ends = []
for arguments in json.load(sys.stdin):
    sys.argv = ["pipeline", *arguments]
    told, code = io.StringIO(), 0
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        try:
            main()
        except SystemExit as end:
            code = end.code
    ends.append([code, told.getvalue()])
print(json.dumps(ends))
"""


@pytest.fixture
def odd():
    """Return the port of a server that answers whoever comes with something that is no store's answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        import threading

        def answer():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")

        thread = threading.Thread(target=answer)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.slow
def test_no_error_shows_the_password_of_a_store_that_cannot_be_used(tmp_path, odd):
    # given stores that refuse, answer nonsense, cannot be found, have no driver, and addresses that are none
    places = [
        f"postgresql://ann:{SECRET}@127.0.0.1:1/db",
        f"https://ann:{SECRET}@127.0.0.1:1",
        f"http://ann:{SECRET}@127.0.0.1:{odd}",
        f"https://ann:{SECRET}@127.0.0.1:{odd}",
        f"postgresql+psycopg2://ann:{SECRET}@127.0.0.1:{odd}/db",
        f"mysql://ann:{SECRET}@127.0.0.1:{odd}/db",
        f"postgresql://ann:{SECRET}@nowhere.invalid/db",
        f"postgresql://ann:{SECRET}@127.0.0.1:99999/db",
        f"nosuch://ann:{SECRET}@127.0.0.1/db",
        f"http://ann:{SECRET}/word@127.0.0.1:{odd}",
        f"postgresql://ann:{SECRET}@[::1/db",  # Hydra cannot read it
        f"'postgresql://ann:{SECRET}@[::1/db'",
        f"[postgresql://ann:{SECRET}@host/db]",  # a list
        f"${{postgresql://ann:{SECRET}@host/db}}",
    ]
    commands = [[*SMALL, f"tracking.uri={uri}"] for uri in places]
    commands += [["-m", "seed=1,2", *SMALL, f"tracking.uri={uri}"] for uri in places[:3]]
    commands += [[*SMALL, f"tracking.uri={places[0]}", other] for other in ("learning_rat=1", "loss=none", "seed=[")]

    # when each is used
    done = subprocess.run(
        [sys.executable, "-c", SESSION],
        input=json.dumps(commands),
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )

    # then each is an error, and the password is neither in it nor in a file
    assert SECRET not in done.stdout + done.stderr
    ends = json.loads(done.stdout.splitlines()[-1])
    assert {code for code, _ in ends} == {2}
    assert all("error: " in told for _, told in ends)
    assert holding(tmp_path) == []


def holding(folder):
    """Return the files that hold the password, as it is or as a request's header has it."""
    forms = [SECRET.encode(), base64.b64encode(f"ann:{SECRET}".encode()).rstrip(b"=")]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [str(path.relative_to(folder)) for path in files if any(form in path.read_bytes() for form in forms)]


@contextmanager
def tracking_server(folder):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port)]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [*command, "--workers", "1"],
            cwd=folder,
            env={**ENVIRONMENT, "PATH": path},
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline, (folder / "log").read_text()[-2000:]
                    time.sleep(0.3)
            yield port
        finally:
            os.killpg(process.pid, 15)


@pytest.mark.slow
def test_a_sweep_on_a_store_with_a_password_leaves_it_nowhere(tmp_path):
    (tmp_path / "server").mkdir()
    (tmp_path / "here").mkdir()
    uri = f"http://ann:{SECRET}@127.0.0.1"
    with tracking_server(tmp_path / "server") as port:
        # given a sweep that writes to a server for which it has a password
        arguments = ["-m", *SMALL, "seed=1,2", f"tracking.uri={uri}:{port}"]
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *arguments],
            cwd=tmp_path / "here",
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr

    # then neither what it printed, nor its folders, nor the record, nor the server's log hold it
    assert f"http://***@127.0.0.1:{port}/#/experiments/" in done.stdout
    assert SECRET not in done.stdout + done.stderr
    assert holding(tmp_path) == []
    assert any("multirun" in str(path) for path in (tmp_path / "here").rglob(".hydra/config.yaml"))
    assert list((tmp_path / "server" / "artifacts").rglob("overrides.yaml"))


# --- Nothing listens to outside, or to who has not the token.

PRIVATE = """
import json, os, psutil, ray, sys
from pipeline.engine.ray_cluster import connect
from pipeline.schema import Cluster
connect(Cluster(address="local"), cpus=1)
assert ray.get(ray.remote(lambda: 1).remote()) == 1
family = [psutil.Process(), *psutil.Process().children(recursive=True)]
heard = [(p.name(), c.laddr) for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
node = ray._private.worker._global_node
print(json.dumps({
    "heard": [(name, place.ip, place.port) for name, place in heard],
    "gcs": ray.get_runtime_context().gcs_address,
    "dashboard": node.webui_url,
    "logs": node.get_session_dir_path(),
}), flush=True)
sys.stdin.read()
"""

CLIENT = """
import sys
from ray._raylet import GcsClient
try:
    GcsClient(address=sys.argv[1]).internal_kv_keys(b"", namespace=None, timeout=10)
except BaseException as error:
    print(type(error).__name__)
else:
    print("in")
"""


@pytest.mark.slow
def test_a_private_cluster_listens_here_only_and_to_who_has_the_token(tmp_path):
    token = tmp_path / "token"
    token.write_text("4f" * 32)
    plain = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("RAY_")}
    plain["HOME"] = str(tmp_path)  # without a token of the person's own

    # given a private cluster that was started by a command line with a password in it
    secret = f"tracking.uri=http://ann:{SECRET}@host"
    with subprocess.Popen(
        [sys.executable, "-c", PRIVATE, secret],
        env={**plain, "RAY_AUTH_TOKEN_PATH": str(token)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        told = json.loads(process.stdout.readline())

        # then it listens on this machine only, and there is no dashboard, whose jobs API would run programs
        assert told["heard"]
        assert {place.removeprefix("::ffff:") for _, place, _ in told["heard"]} == {"127.0.0.1"}
        assert not told["dashboard"]
        for name, _, port in told["heard"]:
            assert jobs(port) not in {200, 404}, name
        # and a client is let in with the token only
        assert client(told["gcs"], plain) == "AuthenticationError"
        assert client(told["gcs"], {**plain, "RAY_AUTH_MODE": "disabled"}) == "AuthenticationError"
        wrong = {**plain, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5e" * 32}
        assert client(told["gcs"], wrong) == "AuthenticationError"
        right = {**plain, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        assert client(told["gcs"], right) == "in"
        process.stdin.close()
        process.wait(timeout=60)
    assert holding(Path(told["logs"])) == []


def client(address, environment):
    return subprocess.run(
        [sys.executable, "-c", CLIENT, address],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.strip()


def jobs(port, token=None):
    """Return what the jobs API at a port answers, None where there is none."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/jobs/", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except (OSError, HTTPException):
        return None


JOBS = """
import ray, sys
ray.init("local", num_cpus=1, include_dashboard=True, dashboard_host="127.0.0.1", dashboard_port=int(sys.argv[1]))
print("here", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_the_jobs_api_of_a_cluster_with_a_dashboard_wants_the_token(tmp_path):
    pytest.importorskip("aiohttp_cors", reason="a dashboard wants ray[default]")
    (tmp_path / "token").write_text("4f" * 32)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    with subprocess.Popen(
        [sys.executable, "-c", JOBS, str(port)],
        env={**ENVIRONMENT, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "here\n"

        assert [jobs(port), jobs(port, "5e" * 32), jobs(port, "4f" * 32)] == [401, 403, 200]
        process.stdin.close()
        process.wait(timeout=60)
