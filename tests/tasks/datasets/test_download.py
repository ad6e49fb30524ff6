"""A download that resumes, is checked and happens once, against a server on loopback."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tasks.datasets.download import fetch
from tasks.errors import DataError
from tests.tasks.datasets.processes import at_once

CONTENT = np.random.default_rng(0).bytes(1_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
LOCK = ".file.lock"


@pytest.fixture
def url(server):
    """Return the address of the content."""
    server.files = {"/file": CONTENT}
    return f"{server.url}/file"


@pytest.fixture
def destination(tmp_path):
    """Return where the download goes: a file alone in its folder."""
    return tmp_path / "file"


def names(destination):
    """Return the names beside the destination, but for the lock."""
    return {path.name for path in destination.parent.iterdir()} - {LOCK}


def test_a_download_arrives_whole_and_reports_its_bytes(url, destination):
    seen = []

    fetch(url, MD5, destination, progress=lambda done, total: seen.append((done, total)))

    assert destination.read_bytes() == CONTENT
    assert seen[-1] == (1_000_000, 1_000_000)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert names(destination) == {"file"}


def test_what_is_there_is_not_asked_for(url, server, destination):
    destination.write_bytes(b"the user's own")

    fetch(url, MD5, destination)

    assert server.requests == []
    assert destination.read_bytes() == b"the user's own"


def test_a_partial_file_is_resumed_where_the_server_can(url, server, destination):
    destination.with_name("file.part").write_bytes(CONTENT[:600_000])
    seen = []

    fetch(url, MD5, destination, progress=lambda done, total: seen.append((done, total)))

    assert server.requests == [("/file", "bytes=600000-")]
    assert seen[0][0] > 600_000
    assert seen[-1] == (1_000_000, 1_000_000)
    assert destination.read_bytes() == CONTENT
    assert names(destination) == {"file"}


def test_a_partial_file_is_begun_again_where_the_server_cannot(url, server, destination):
    server.ranges = False
    destination.with_name("file.part").write_bytes(CONTENT[:600_000])

    fetch(url, MD5, destination)

    assert len(server.requests) == 1
    assert destination.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "partial",
    [b"of another file", CONTENT + b"more", bytes(1_000_000)],
    ids=["of another file", "too long", "as long but wrong"],
)
def test_a_partial_file_that_leads_to_a_wrong_checksum_is_begun_again(url, server, destination, partial):
    destination.with_name("file.part").write_bytes(partial)

    fetch(url, MD5, destination)

    assert [wanted for _, wanted in server.requests] == [f"bytes={len(partial)}-", None]
    assert destination.read_bytes() == CONTENT


def test_a_partial_file_that_was_whole_needs_no_more(url, destination):
    destination.with_name("file.part").write_bytes(CONTENT)

    fetch(url, MD5, destination)

    assert destination.read_bytes() == CONTENT
    assert names(destination) == {"file"}


def test_a_connection_that_ends_early_leaves_what_came_for_the_next_try(url, server, destination):
    server.cut = 400_000
    with pytest.raises(DataError, match=r"the connection ended after 400000 of 1000000 bytes"):
        fetch(url, MD5, destination)
    assert names(destination) == {"file.part"}
    server.cut = None

    fetch(url, MD5, destination)

    assert server.requests[-1] == ("/file", "bytes=400000-")
    assert destination.read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(url, destination):
    with pytest.raises(DataError, match=rf"/file: the MD5 checksum must be {'0' * 32}, got {MD5}"):
        fetch(url, "0" * 32, destination)

    assert names(destination) == set()


def test_a_server_that_has_not_got_the_file_is_named(server, destination):
    with pytest.raises(DataError, match=r"/file cannot be downloaded: HTTP Error 404"):
        fetch(f"{server.url}/file", MD5, destination)

    assert names(destination) == set()


def test_a_server_that_cannot_be_reached_is_named(destination):
    with pytest.raises(DataError, match=r"http://127\.0\.0\.1:1/file cannot be downloaded: .*refused"):
        fetch("http://127.0.0.1:1/file", MD5, destination)


@pytest.mark.slow
def test_eight_processes_at_once_make_one_download(url, server, destination):
    call = "fetch(sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]))"

    ends = at_once(8, "from tasks.datasets.download import fetch", call, url, MD5, destination)

    assert ends == [0] * 8
    assert len(server.requests) == 1
    assert destination.read_bytes() == CONTENT
    assert names(destination) == {"file"}
