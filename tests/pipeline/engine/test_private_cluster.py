"""A Ray cluster that a sweep starts listens to nobody else on the network, and to nobody without the token."""

import json
import os
import socket
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
    "started": sorted(node.all_processes),
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
        # nor what follows an autoscaler or the workers' output: processes of Python that nobody here asks
        assert told["started"] == ["gcs_server", "raylet"]
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
    """Return what the jobs API at a port answers, None where there is none.

    With `ray[default]` an agent tells its metrics, as plain text, to whoever asks for any page.
    """
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/jobs/", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status if response.headers.get_content_type() == "application/json" else None
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


def test_a_ray_that_knows_other_names_starts_what_they_stand_for(monkeypatch):
    from ray._private import parameter, ray_constants, services
    from ray._private.node import Node

    from pipeline.engine.ray_private_cluster import for_this_driver

    monkeypatch.delattr(Node, "start_api_server")
    monkeypatch.delattr(services, "get_node")
    monkeypatch.setattr(parameter, "RayParams", lambda *, num_cpus: num_cpus)

    with for_this_driver():
        assert parameter.RayParams(num_cpus=2) == 2
        assert not ray_constants.ENABLE_RAY_CLUSTER  # what keeps it on loopback is never left out
    assert not hasattr(Node, "start_api_server")
    assert not hasattr(services, "get_node")
