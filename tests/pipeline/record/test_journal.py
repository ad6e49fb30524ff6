"""A journal gives back what was written, up to the first byte that is not as it was written."""

import contextlib
import hashlib
import json
import os
import random
import resource
import struct
import subprocess
import sys

import pytest

from pipeline.errors import RecordError
from pipeline.record.journal import Head, Journal
from pipeline.record.record_file import DamagedError
from pipeline.record.writes import AddDataset, Attach, CreateRun, EndRun, Log, Register, decode, encode, new_run

HEAD = Head(uri="http://***@host:5000", experiment="descent-sweeps", parent="1" * 32)
RUN = new_run()
WRITES = [
    CreateRun(run=RUN, name="a = 1 | ü/..", tags={"key": "k", "note": "line\nline"}, start=1_700_000_000_000),
    AddDataset(run=RUN, name="digits", digest="ab" * 18),
    Attach(run=RUN, files={"arrays.npz": bytes(range(256)), "figures/curves.png": b"", "a..b/.hidden": b"1"}),
    Log(
        run=RUN,
        params={"strategy": "local"},
        tags={"outcome": "complete"},
        points=[("train/loss", 1 / 3, 1, 0), ("norm", float("inf"), 2, 1), ("norm", -0.0, 2**62, 2)],
    ),
    Register(run=RUN, parent="1" * 32, name="model", step=10, image_shape=(3, 32, 32), layers="[]", arrays=b"PK"),
    EndRun(run=RUN, status="FINISHED", end=1_700_000_000_001),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "record.journal"


def write(path, *blocks, finished=True):
    journal = Journal.create(path, HEAD)
    for block in blocks:
        journal.append(block)
    if finished:
        journal.finish()
    journal.close()
    return path.read_bytes()


def read(path):
    """Return the writes of a journal, whether it is complete, and whether it is damaged."""
    found = []
    try:
        journal, head = Journal.open(path)
        with contextlib.closing(journal):
            assert head == HEAD
            while writes := journal.peek():
                found += writes
                journal.advance(len(writes))
    except DamagedError:
        return found, False, True
    return found, journal.complete, False


def test_what_is_written_is_read_in_order(path):
    write(path, WRITES[:2], WRITES[2:], WRITES * 40)

    assert read(path) == (WRITES * 41, True, False)


def test_a_nan_is_kept(path):
    write(path, [Log(run=RUN, points=[("loss", float("nan"), 1, 1)])])

    ((log,), _, _) = read(path)

    assert str(log.points) == "[('loss', nan, 1, 1)]"


def test_it_is_read_while_it_is_written(path):
    journal = Journal.create(path, HEAD)
    journal.append(WRITES[:1])
    assert journal.peek() == WRITES[:1]

    journal.append(WRITES[1:3])
    assert journal.peek() == WRITES[:3]
    journal.advance(1)
    journal.append(WRITES[3:])
    journal.advance(2)

    assert journal.peek() == WRITES[3:]
    journal.advance(3)
    assert journal.peek() == []
    assert not journal.complete
    journal.remove()
    journal.close()
    assert not path.exists()


def test_without_its_end_it_is_not_complete(path):
    write(path, WRITES, finished=False)

    assert read(path) == (WRITES, False, False)


def test_truncated_anywhere_it_gives_what_is_before(path):
    whole = write(path, WRITES)

    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])

        found, complete, _ = read(path)

        assert found == WRITES[: len(found)]
        assert not complete


def test_with_a_byte_changed_it_gives_what_is_before(path):
    whole = write(path, WRITES)

    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)

        found, complete, damaged = read(path)

        assert found == WRITES[: len(found)]
        assert (complete, damaged) == (False, True), place


def test_records_put_in_another_order_are_noticed(path):
    whole = write(path, WRITES[:1], WRITES[:1], WRITES[1:2])
    once = whole.index(encode(WRITES[0])) - 40
    size = 40 + len(encode(WRITES[0]))

    path.write_bytes(whole[: once + size] + whole[once + 2 * size :])

    assert read(path) == (WRITES[:1], False, True)


def test_mutated_journals_are_read_or_refused(path):
    whole, generator = write(path, WRITES * 3), random.Random(6)
    for _ in range(int(os.environ.get("FUZZ", "500"))):
        content = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            place, size = generator.randrange(len(content)), generator.randrange(1, 60)
            kind = generator.randrange(4)
            if kind == 0:
                content[place : place + size] = generator.randbytes(size)
            elif kind == 1:
                del content[place : place + size]
            elif kind == 2:
                content[place:place] = content[place - size : place]
            else:
                content[place : place + 8] = struct.pack(">Q", generator.choice([0, 2**31, 2**63, 2**64 - 1]))
        path.write_bytes(content)

        found, _, _ = read(path)

        assert found == (WRITES * 3)[: len(found)]


# What a stranger might put into a journal, with checksums as they must be.
STRANGE = [
    b"",
    b"null",
    b"[" * 100_000,
    b"9" * 5000,
    b'{"write": "Write"}',
    b'{"write": "EndRun", "run": "1"}',
    b'{"write": "EndRun", "run": "1", "status": 7, "end": 1}',
    b'{"write": "EndRun", "run": "1", "status": "FINISHED", "end": 1e99}',
    b'{"write": "EndRun", "run": "1", "status": "FINISHED", "end": true}',
    b'{"write": "EndRun", "run": "1", "status": "FINISHED", "end": 1, "__class__": "x"}',
    b'{"write": "Log", "run": "1", "points": [["loss", "nan or not", 1, 1]]}',
    b'{"write": "Log", "run": "1", "points": [["loss", 1, 1]]}',
    b'{"write": "Log", "run": "1", "tags": {"a": {"_target_": "os.system"}}}',
    b'{"write": "Attach", "run": "1", "files": {"a": "not base64"}}',
    b'{"write": "CreateRun", "run": "x\' or", "name": "", "tags": {}, "start": 1}',
    *(
        json.dumps({"write": "Attach", "run": "1", "files": {name: "AAAA"}}).encode()
        for name in ("../up", "/etc/passwd", "a/../../up", "", ".", "..\\up", "a\0b")
    ),
]


@pytest.mark.parametrize("content", STRANGE)
def test_a_strange_write_is_refused(content):
    with pytest.raises(RecordError, match="a write must be one of CreateRun"):
        decode(content)


def test_a_strange_write_with_a_right_checksum_is_damage(path):
    whole = write(path, WRITES[:1], finished=False)
    last = whole[whole.index(encode(WRITES[0])) - 32 :][:32]
    for content in STRANGE[1:]:
        length = struct.pack(">Q", len(content))
        path.write_bytes(whole + length + hashlib.sha256(last + length + content).digest() + content)

        assert read(path) == (WRITES[:1], False, True)


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"descent-sweeps journal 2\n", bytes(1000)])
def test_another_file_is_refused(path, content):
    path.write_bytes(content)

    with pytest.raises(DamagedError, match="the file must begin with"):
        Journal.open(path)


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(RecordError, match="the journal must be a file that can be read"):
            Journal.open(path)


def test_a_journal_in_use_is_refused(path):
    journal = Journal.create(path, HEAD)
    code = "import sys, pathlib; from pipeline.record.journal import Journal; Journal.open(pathlib.Path(sys.argv[1]))"

    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)

    journal.close()
    assert "the journal must not be in use" in done.stderr
    read(path)


def test_a_full_disk_leaves_what_is_written_whole(path):
    journal = Journal.create(path, HEAD)
    journal.append(WRITES)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    # A file of a megabyte at most: the first part of what follows still fits.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            journal.append([Attach(run=RUN, files={"big": bytes(2_000_000)})])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert path.read_bytes() == before
    journal.append(WRITES[:1])
    journal.finish()
    journal.close()
    assert read(path) == ([*WRITES, WRITES[0]], True, False)


def test_a_place_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        Journal.create(tmp_path / "file" / "record.journal", HEAD)
