"""A log gives back what was reported, up to the first byte that is not as it was written."""

import contextlib
import dataclasses
import hashlib
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile

import numpy as np
import pytest

import pipeline.reports
from pipeline.errors import RecordError
from pipeline.plan.plan import PlannedTrial, Progress
from pipeline.raised import Raised
from pipeline.record import log as log_module
from pipeline.record.log import LOG_NAMES, Codec, DamagedError, Log
from pipeline.record.protocol import Closed, Data, Drew, Opened, Provenance, Recalled, Trained
from pipeline.reports import (
    Checkpointed,
    Decided,
    Failed,
    Finished,
    Layout,
    Measured,
    Notice,
    Paused,
    Planned,
    Printed,
    Progressed,
    Retried,
    Searched,
    Started,
    Told,
)
from pipeline.stopping.rung_system import Decision
from tasks.events import Checkpoint
from tests.pipeline.record.recording import block, done, header

DATA = Data(
    name="tiny", digest="ab" * 32, kind="uint8", image_shape=(2, 2), classes=("a",), train=3, validation=2, test=1
)

SEARCHED = Searched(
    sampler="tpe",
    metrics=("val/accuracy",),
    directions=("maximize",),
    proposals=(Told(number=0, params={"learning_rate": "0.1"}, known=0, outcome="complete", values=(0.5,)),),
    importances={"learning_rate": 1.0},
)
DECISION = Decision(
    step=10, pool=1, arrived=2, scores={"s": 0.5, "t": float("nan")}, passed=("s",), stopped=("t",), complete=True
)


@pytest.fixture
def entries(trial, layout):
    """Return an entry of every kind."""
    one, other = trial("a = 1 | ü/.."), trial("b", learning_rate=0.5)
    odd = block(0, 4, **{"train/loss": lambda s: [1 / 3, float("inf"), -0.0, float("nan")]})
    arrays = {"weights": np.eye(2), "strided": np.arange(9)[::2]}
    progress = Progress(checkpoint=Checkpoint(step=3, trials=np.arange(2), arrays=arrays), curves=(odd,))
    result = done(step=3, **{"val/accuracy": 0.5})
    provenance = Provenance(tags={"key": "k", "note": "line\nline"}, attachments={"notes.txt": "+1"})
    return [
        Opened(
            log="1",
            uri="sqlite:///mlflow.db",
            experiment="e",
            parent="2" * 32,
            sweep=header(one, other),
            data=DATA,
            provenance=provenance,
        ),
        Started(trial=one, host="here"),
        Progressed(trial=one, curve=odd),
        Printed(trial=one, text="epoch 1\n"),
        Retried(trials=(one, other), attempt=2, step=3, parts=1, error="lost", alone=(1, 3)),
        Recalled(trial=other, run_id="3" * 32, curves=(odd,), result=result, layout=layout),
        Finished(trial=one, result=result, layout=layout),
        Failed(trial=other, error="ValueError: bad", traceback="...", raised=Raised(error="bad", traceback="...")),
        Checkpointed(trials=(one, other), progress=progress),
        Planned(trials=(other,)),
        SEARCHED,
        Measured(metrics={"idle": 0.25, "of": 1.0}),
        Decided(decision=DECISION, names={"s": "lr=1"}, metric="val/accuracy", sign=1),
        Paused(trials=(one, other), progress=progress, layouts=(layout, layout)),
        Drew(trial=None, files={"curves.png": bytes(range(256)), "none.png": b""}),
        Trained(trial=one, name="model", step=10, signature={"inputs": "[]"}, layers="[]", arrays=b"PK"),
        Closed(status="FINISHED"),
    ]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "record-1.log"


def begin(path):
    log = Log.begin(path.parent)
    log.path = log.path.rename(path)
    return log


def write(path, entries):
    log = begin(path)
    for number, entry in enumerate(entries):
        log.append(number, entry)
    log.sync()
    log.close()
    return path.read_bytes()


def ends_of(path, entries):
    """Return how long the file of a log is after each of its entries."""
    lengths = []
    log = begin(path)
    for number, entry in enumerate(entries):
        log.append(number, entry)
        lengths.append(path.stat().st_size)
    log.close()
    return lengths


def read(path):
    """Return the entries of a log, and whether it is damaged."""
    found = []
    try:
        with contextlib.closing(Log.open(path)) as log:
            found.extend(log.read())
    except DamagedError:
        return found, True
    return found, False


def same(one, other):
    """Return whether two entries hold the same, to the bit."""
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, PlannedTrial):
        return (one.key, one.name, one.index, one.overrides, one.trial) == (
            (other.key, other.name, other.index, other.overrides, other.trial)
        )
    if dataclasses.is_dataclass(one):
        fields = [field.name for field in dataclasses.fields(one)]
        return type(one) is type(other) and all(same(getattr(one, name), getattr(other, name)) for name in fields)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, tuple):
        return type(other) is tuple and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or (one != one and other != other))  # noqa: PLR0124  # a NaN


def test_what_is_reported_is_read_in_order_and_to_the_bit(path, entries):
    write(path, entries * 3)

    found, damaged = read(path)

    assert [time for time, _ in found] == list(range(len(entries) * 3))
    assert all(same(before, after) for before, (_, after) in zip(entries * 3, found, strict=True))
    assert not damaged


def test_every_kind_of_report_is_among_what_is_written_here(entries):
    kinds = {kind for kind in vars(pipeline.reports).values() if getattr(kind, "__module__", "") == "pipeline.reports"}
    told = kinds - {Layout, Notice, Told}

    assert told - {type(entry) for entry in entries} == set()


def test_a_trial_is_told_whole_once_and_loses_its_passwords(trial):
    codec, planned = Codec(), trial("secret", tracking={"uri": "http://ann:s3cret@host"})

    first, second = (b"".join(codec.encode(time, Started(trial=planned))) for time in (0, 1))

    assert b"s3cret" not in first
    assert b"learning_rate" in first
    assert len(second) < 200


def test_of_an_error_its_text_is_told_and_not_its_object():
    raised = Raised.of(ValueError("bad"))

    _, found = Codec().decode(b"".join(Codec().encode(0, raised)))

    assert (found, found.exception) == (raised, None)


def test_a_log_that_was_read_is_appended_to(path, entries):
    write(path, entries[:2])
    with contextlib.closing(Log.open(path)) as log:
        assert len(list(log.read())) == log.entries == 2
        log.append(7, entries[2])
        assert log.entries == 3

    found, damaged = read(path)

    assert ([time for time, _ in found], damaged) == ([0, 1, 7], False)
    assert same(found[2][1], entries[2])


def test_truncated_anywhere_it_gives_what_is_before(path, entries):
    whole, ends = write(path, entries), ends_of(path.with_name("record-2.log"), entries)
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])

        found, _ = read(path)

        assert all(same(before, after) for before, (_, after) in zip(entries, found, strict=False))
        assert len(found) == sum(end <= length for end in ends)


def test_with_a_byte_changed_it_gives_what_is_before(path, entries):
    whole, ends = write(path, entries), ends_of(path.with_name("record-2.log"), entries)
    for place in range(0, len(whole), 37):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)

        found, damaged = read(path)

        assert all(same(before, after) for before, (_, after) in zip(entries, found, strict=False))
        assert (len(found), damaged) == (sum(end <= place for end in ends), True)


def test_what_a_damage_has_cut_off_is_gone_once_the_log_goes_on(path, entries):
    whole = write(path, entries)
    path.write_bytes(whole[:-100])
    with contextlib.closing(Log.open(path)) as log:
        with pytest.raises(DamagedError):
            list(log.read())
        kept = log.entries
        assert path.read_bytes() == whole[:-100]
        log.append(0, Closed(status="KILLED"))

    found, damaged = read(path)

    assert (len(found), damaged) == (kept + 1, False)
    assert found[-1][1] == Closed(status="KILLED")


def test_entries_put_in_another_order_are_noticed(path):
    entries = [Closed(status=status) for status in ("FINISHED", "FINISHED", "KILLED")]
    whole = write(path, entries)
    begin = len(b"descent-sweeps log 6\n")
    size = (len(whole) - begin - len("KILLED") + len("FINISHED")) // 3

    path.write_bytes(whole[: begin + size] + whole[begin + 2 * size :])

    assert read(path) == ([(0, entries[0])], True)


def test_mutated_logs_are_read_or_refused(path, entries):
    whole, generator = write(path, entries), random.Random(6)
    for _ in range(int(os.environ.get("FUZZ", "100"))):
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

        found, _ = read(path)

        assert all(same(before, after) for before, (_, after) in zip(entries, found, strict=False))


# What a stranger might put into a log, with checksums as they must be.
STRANGE = [
    b"",
    b"[" * 100_000,
    b"9" * 5000,
    b"{}",
    b"[]",
    b'[1,{"\\u0000":"Popen","args":"ls"}]',
    b'[1,{"\\u0000":"Closed"}]',
    b'[1,{"\\u0000":"Closed","status":"FINISHED","more":1}]',
    b'[1,{"\\u0000":["Closed"]}]',
    b'[1,{"\\u0000":"dataclass"}]',
    b'[1,{"\\u0000":"defaultdict"}]',
    b'[1,{"\\u0000":"array","of":["<f8",1000000000000]}]',
    b'[1,{"\\u0000":"array","of":["<f8",1000000000000000000000000000000]}]',
    b'[1,{"\\u0000":"array","of":["|O",1]}]\n12345678',
    b'[1,{"\\u0000":"array","of":["f8,(",1]}]\n12345678',
    b'[1,{"\\u0000":"array","of":["<f8",-1]}]\n12345678',
    b'[1,{"\\u0000":"bytes","of":1000000000000000000000000000000}]',
    b'[1,{"\\u0000":"bytes","of":-5}]\n12345678',
    b'[1,{"\\u0000":"trial","of":"a key that was not told"}]',
    b'[1,{"\\u0000":"PlannedTrial","key":"k","overrides":[],"config":[1]}]',
    b'[1,{"\\u0000":"Outcome","value":"won"}]',
]


@pytest.mark.parametrize("content", STRANGE, ids=range(len(STRANGE)))
def test_a_strange_entry_is_refused(content):
    with pytest.raises(DamagedError, match="an entry must be one of a record's log"):
        Codec().decode(content)


def test_a_strange_entry_with_a_right_checksum_is_damage(path, entries):
    whole = write(path, entries[:1])
    before, body = hashlib.sha256(b"descent-sweeps log 6\n").digest(), b"".join(Codec().encode(0, entries[0]))
    last = hashlib.sha256(before + struct.pack(">Q", len(body)) + body).digest()
    for content in STRANGE:
        length = struct.pack(">Q", len(content))
        path.write_bytes(whole + length + hashlib.sha256(last + length + content).digest() + content)

        found, damaged = read(path)

        assert (len(found), damaged) == (1, True)


@pytest.mark.parametrize("name", ["gone", "svm"])
def test_a_trial_of_a_package_that_is_not_installed_is_no_damage_and_names_what_is_missing(name, path, trial):
    # given a row that is not there any more, or another version of it that had one key more
    planned = trial()
    write(path, [Planned(trials=(dataclasses.replace(planned, config={"loss": {"name": name, "warmth": 2}}),))])

    missing = "loss must be one of .*, got 'gone'|a key of loss must be one of margin, got 'warmth'"
    with pytest.raises(RecordError, match=f"packages .* must be installed here: ({missing})") as refused:
        read(path)
    assert not isinstance(refused.value, DamagedError)


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"descent-sweeps log 2\n", bytes(1000)])
def test_another_file_is_refused(path, content):
    path.write_bytes(content)

    with pytest.raises(DamagedError, match="a log must begin with"):
        Log.open(path)


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(RecordError, match="the log must be a file that can be read"):
            Log.open(path)


def test_a_log_in_use_is_refused(path):
    log = begin(path)
    code = "import sys, pathlib; from pipeline.record.log import Log; Log.open(pathlib.Path(sys.argv[1]))"

    end = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)

    log.close()
    assert "the log must not be in use" in end.stderr
    assert read(path) == ([], False)


@pytest.mark.parametrize("then", ["append", "write", "close"])
def test_on_a_full_disk_what_is_written_stays_whole_and_the_rest_waits(path, then):
    log = begin(path)
    log.append(0, Closed(status="FAILED"))
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    # A file of a megabyte at most: the first part of what follows still fits.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        log.append(1, Drew(trial=None, files={"big": bytes(2_000_000)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert "File too large" in str(log.error)
    assert path.read_bytes() == before
    assert not log.is_whole
    # once there is room again, it is written with the next entry, or without one
    if then == "append":
        log.append(2, Closed(status="KILLED"))
    elif then == "write":
        log.write()
    assert log.is_whole is (then != "close")
    log.close()
    found, damaged = read(path)
    assert ([time for time, _ in found], damaged) == ([0, 1, 2] if then == "append" else [0, 1], False)
    assert len(found[1][1].files["big"]) == 2_000_000


def test_a_sweep_goes_on_without_a_log_that_cannot_be_created_and_is_told_once(tmp_path, messages_of):
    (tmp_path / "file").touch()

    log = Log.begin(tmp_path / "file")
    log.append(0, Closed(status="FINISHED"))
    log.sync()
    log.close()

    assert (log.path, log.entries, log.is_whole) == (None, 0, False)
    (warning,) = messages_of(log_module)
    assert warning.startswith("the log cannot be written, so what the store lacks stays in memory: ")


def test_on_a_full_disk_a_log_is_not_created_and_leaves_nothing(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        log = Log.begin(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert "File too large" in str(log.error)
    assert (log.path, list(tmp_path.iterdir())) == (None, [])


def test_a_disk_that_does_not_keep_what_is_written_is_told_once_and_asked_again(path, monkeypatch, messages_of):
    log = begin(path)
    log.append(0, Closed(status="FAILED"))

    def refuse(file):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", refuse)
        log.sync()
        log.sync()
    asked = []
    monkeypatch.setattr(os, "fsync", asked.append)
    log.sync()
    log.sync()
    log.close()

    assert "Input/output error" in str(log.error)
    assert len(messages_of(log_module)) == 1
    assert len(asked) == 1  # and no more, once it has kept all


def test_the_logs_of_a_folder_that_was_not_there_are_files_of_their_own_that_others_cannot_read(tmp_path):
    logs = [Log.begin(tmp_path / "new" / "folder") for _ in range(2)]
    for log in logs:
        log.close()

    files = list((tmp_path / "new" / "folder").glob(LOG_NAMES))
    assert sorted(files) == sorted(log.path for log in logs)
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_log_that_somebody_has_removed_is_closed_all_the_same(path):
    log = begin(path)
    log.needed = False
    path.unlink()

    log.close()


@pytest.mark.parametrize("needed", [True, False])
@pytest.mark.parametrize("temporary", [True, False])
def test_a_log_stays_where_it_is_needed(needed, temporary, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    log = Log.begin(None if temporary else tmp_path)
    log.needed = needed
    log.close()

    assert log.path.parent == tmp_path
    assert list(tmp_path.iterdir()) == ([log.path] if needed else [])
