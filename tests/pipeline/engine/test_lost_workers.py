"""What Ray says of a lost worker becomes a few words that say why."""

import platform
from types import SimpleNamespace

import pytest
import ray

from pipeline.config.schema import Cluster
from pipeline.engine import lost_workers
from pipeline.engine.lost_workers import why_lost
from pipeline.engine.ray_workers import MAX_FAILED_STARTS, Workers
from pipeline.errors import EngineError

# As Ray 2.60 says it.
MEMORY = (
    "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 10.0.0.1, ID: 59) was "
    "22.92GB used / 23.54GB limit (0.97)"
)
DIED = "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
WORDLESS = (
    f"{DIED}Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the "
    "process was killed by the OOM killer due to high memory usage, (2) ray stop --force was called, or (3) the worker "
    "crashed unexpectedly due to SIGSEGV or another unexpected error. (verifiable by checking for OOM in dmesg of the "
    "OOMing node), consider enabling resource isolation to prevent node deaths by resource contention"
)
NO_MESSAGE = "it ended without a message: by SIGKILL, as when the system is out of memory, or by os._exit"


class LostError(ray.exceptions.RayError):
    """What Ray raises where a worker is lost, with the text it has then."""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{DIED}Worker exits unexpectedly. Worker exits with an exit code 3.", "exit code 3"),
        (f"{DIED}Worker exits with an exit code 1. The process receives a SIGTERM.", "by SIGTERM"),
        ("The actor died because its node has died. Node Id: 12", "its node was lost"),
        ("\n  something new\nof Ray's", "something new"),
    ],
)
def test_the_reason_is_in_what_ray_says(text, why):
    assert why_lost(LostError(text), host="there", killed_before=0) == (why, text)


def test_memory_is_said_with_how_much_there_was():
    why, _ = why_lost(ray.exceptions.OutOfMemoryError(MEMORY), host="there", killed_before=0)

    assert why == "out of memory: Ray's memory monitor ended it, with 22.92GB of 23.54GB in use"


def test_where_ray_does_not_know_yet_the_connection_is_named():
    closed = "The actor is temporarily unavailable: RpcError: RPC error: Socket closed rpc_code: 14"

    told, detail = why_lost(ray.exceptions.ActorUnavailableError(closed, None), host="there", killed_before=0)

    assert told == "the connection to it was lost, as when its node or its process has died"
    assert closed in detail


@pytest.mark.parametrize(
    ("host", "before", "last", "why"),
    [
        (platform.node(), 4, "", f"{NO_MESSAGE}; the system has ended a process for lack of memory meanwhile"),
        (platform.node(), 5, "", NO_MESSAGE),
        ("elsewhere", 4, "", NO_MESSAGE),
        (platform.node(), 4, "*** SIGSEGV received at time=1\nFatal Python error: Segmentation fault", "by SIGSEGV"),
    ],
    ids=["a process was killed for memory", "none was", "elsewhere", "crashed"],
)
def test_where_ray_knows_nothing_what_the_machine_knows_is_said(monkeypatch, host, before, last, why):
    monkeypatch.setattr(lost_workers, "kernel_kills", lambda: 5)
    monkeypatch.setattr(lost_workers, "_last_words", lambda text: last)

    told, detail = why_lost(LostError(WORDLESS), host=host, killed_before=before)

    assert told == why
    assert last in detail
    assert WORDLESS in detail


def test_of_an_output_larger_than_memory_only_the_end_is_read(tmp_path, monkeypatch):
    # given a terabyte of which all but the end is a hole
    logs = tmp_path / "session" / "logs"
    logs.mkdir(parents=True)
    with (logs / "worker-1f-01000000-77.err").open("wb") as file:
        file.seek(10**12)
        file.write("é*** SIGSEGV received at time=1\n".encode())
    context = SimpleNamespace(get_temp_dir=lambda: str(tmp_path), get_session_name=lambda: "session")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)

    assert why_lost(LostError(f"{WORDLESS} pid: 77"), host="there", killed_before=0)[0] == "by SIGSEGV"


@pytest.fixture
def start(monkeypatch):
    """Return workers, and what tells them that one could not start, as if Ray had said so."""
    workers = Workers(Cluster(), "cpu", {})

    def fail(text, *, others=False):
        def get(reference):
            raise LostError(text)

        monkeypatch.setattr(ray, "get", get)
        workers._starting["a reference"] = "a worker"
        return workers.add_ready("a reference", others=others)

    return workers, fail


def test_workers_that_are_lost_with_their_node_as_they_start_are_no_sign_of_a_cluster_on_which_none_starts(start):
    _, fail = start
    for _ in range(2 * MAX_FAILED_STARTS):
        fail("The actor died because its node has died. Node Id: 12")

    for _ in range(MAX_FAILED_STARTS - 1):
        fail("no module named tasks")
    with pytest.raises(EngineError, match="cluster must have nodes on which a worker starts"):
        fail("no module named tasks")


@pytest.mark.parametrize("others", ["compute", "are idle", "are starting"])
def test_a_node_on_which_no_worker_starts_ends_no_sweep_while_others_can_compute(start, others):
    workers, fail = start
    if others == "are idle":
        workers.idle.append(("another", False))
    elif others == "are starting":
        workers._starting["another's reference"] = "another"

    said = [fail("no space left on device", others=others == "compute") for _ in range(2 * MAX_FAILED_STARTS)]

    # and it is said once, and the node that Ray would pick again is not asked at once
    assert [notice.text for notices in said for notice in notices] == [
        "3 workers in a row could not start, the last because: no space left on device"
    ]
    count = len(workers.idle) + len(workers.starting)
    workers.scale_to(count + 1)
    assert len(workers.idle) + len(workers.starting) == count
