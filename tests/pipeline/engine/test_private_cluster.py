"""A Ray cluster that a sweep starts listens to nobody else on the network, and to nobody without the token."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.pipeline.secret import SECRET, holding

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


PRIVATE = """
import json, os, psutil, ray, sys
from pipeline.engine.ray_cluster import join_or_start
from pipeline.config.schema import Cluster
initialized = []
join_or_start(Cluster(address="local"), cpus=1, meanwhile=lambda: initialized.append(ray.is_initialized()))
assert ray.get(ray.remote(lambda: 1).remote()) == 1
family = [psutil.Process(), *psutil.Process().children(recursive=True)]
heard = [(p.name(), c.laddr) for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
node = ray._private.worker._global_node
print(json.dumps({
    "heard": [(name, place.ip, place.port) for name, place in heard],
    "gcs": ray.get_runtime_context().gcs_address,
    "dashboard": node.webui_url,
    "logs": node.get_session_dir_path(),
    "started": sorted(node.all_processes),
    "initialized": initialized,
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
        assert sum("Dashboard" in name for name, *_ in told["heard"]) <= 1  # the agent, with less to tell
        # nor what follows an autoscaler or the workers' output: processes of Python that nobody here asks
        assert told["started"] == ["gcs_server", "raylet"]
        # and what its start was given to do meanwhile was begun once, while this process waited
        assert told["initialized"] == [False]
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


def jobs(port):
    """Return what the jobs API at a port answers, None where there is none.

    With `ray[default]` an agent tells its metrics, as plain text, to whoever asks for any page.
    """
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/jobs/", timeout=10) as response:
            return response.status if response.headers.get_content_type() == "application/json" else None
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except (OSError, HTTPException):
        return None


ABSENT = """
import builtins, importlib, sys
import_, module = builtins.__import__, importlib.import_module

def refuse(name, by):
    if name.startswith("ray._private") and by.startswith("pipeline"):
        raise ModuleNotFoundError(f"No module named {name!r}")

def imported(name, variables=None, *rest, **named):
    refuse(name, (variables or {}).get("__name__") or "")
    return import_(name, variables, *rest, **named)

def loaded(name, package=None):
    refuse(name, sys._getframe(1).f_globals.get("__name__", ""))
    return module(name, package)

builtins.__import__, importlib.import_module = imported, loaded
"""

JOINING = """
import ray, sys
from pipeline.engine.ray_cluster import join_or_start, leave
from pipeline.config.schema import Cluster
print(join_or_start(Cluster(address=sys.argv[1]), cpus=1), ray.get(ray.remote(lambda: 41 + 1).remote()))
leave()
"""


@pytest.mark.slow
def test_without_the_private_names_of_ray_a_cluster_starts_by_the_public_way_and_is_joined(tmp_path):
    token = tmp_path / "token"
    token.write_text("4f" * 32)
    plain = {name: value for name, value in ENVIRONMENT.items() if not name.startswith("RAY_")}
    plain["HOME"] = str(tmp_path)
    right = {**plain, "RAY_AUTH_TOKEN_PATH": str(token)}
    # given a Ray that has none of its private names for us
    with subprocess.Popen(
        [sys.executable, "-c", ABSENT + PRIVATE],
        env=right,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        told = json.loads(process.stdout.readline())

        # then a cluster starts, and computes; who has no token is refused, and an existing cluster is joined
        assert {"gcs_server", "raylet", "monitor"} <= set(told["started"])
        assert told["initialized"] == []
        assert client(told["gcs"], plain) == "AuthenticationError"
        joined = subprocess.run(
            [sys.executable, "-c", ABSENT + JOINING, told["gcs"]],
            env={**right, "RAY_AUTH_MODE": "token"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert joined.stdout.split() == ["True", "42"], joined.stderr
        assert "this Ray" not in joined.stderr
        process.stdin.close()
        (notice,) = [line for line in process.stderr if "this Ray has no" in line]
        process.wait(timeout=60)
    assert notice.count("ray._private.") == 5
    assert "it also listens on the network, to clients that have its token" in notice


def test_a_ray_that_is_told_in_another_way_where_code_is_gets_it_sent(monkeypatch):
    import ray

    from pipeline.engine.ray_cluster import _send_code, _use_local_code

    assert list(_use_local_code()) == ["job_config"]
    monkeypatch.delattr(ray.job_config.JobConfig, "_runtime_env_has_working_dir")

    assert _use_local_code() == {"runtime_env": _send_code()}


def test_a_ray_that_knows_other_names_starts_what_they_stand_for(monkeypatch, messages_of):
    from ray._private import parameter, ray_constants, services
    from ray._private.node import Node

    from pipeline.engine import ray_private_cluster

    monkeypatch.delattr(Node, "start_api_server")
    monkeypatch.delattr(services, "get_node")
    monkeypatch.setattr(parameter, "RayParams", lambda *, num_cpus: num_cpus)

    with ray_private_cluster.for_this_driver(lambda: None):
        assert parameter.RayParams(num_cpus=2) == 2
        assert not ray_constants.ENABLE_RAY_CLUSTER  # what keeps it on loopback is never left out
    assert not hasattr(Node, "start_api_server")
    assert not hasattr(services, "get_node")
    (notice,) = messages_of(ray_private_cluster)
    assert notice == (
        "this Ray has no ray._private.node:Node.start_api_server, ray._private.services:get_node: "
        "a private cluster takes longer to start"
    )


COLLECTING = """
import gc, ray, threading, time
from pipeline.engine.ray_cluster import join_or_start, leave
from pipeline.config.schema import Cluster

class Garbage:
    def __init__(self):
        self.itself, self.reference = self, ray.put(0)

def work():
    while cycles and not ended.wait(0.001):
        cycles.pop()
        [[] for _ in range(1000)]

join_or_start(Cluster(address="local"), cpus=1)
gc.set_threshold(100)
cycles, ended = [Garbage() for _ in range(3000)], threading.Event()
thread = threading.Thread(target=work)
thread.start()
leave()
ended.set()
thread.join()
gc.collect()
print(len(cycles))
"""


@pytest.mark.slow
def test_a_thread_that_collects_garbage_while_ray_ends_does_not_end_the_process():
    done = subprocess.run(
        [sys.executable, "-c", COLLECTING], env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120
    )

    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout) < 3000
