"""A disk that is full or may only be read: what was good stays whole, and it is told once and clearly."""

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from pipeline.sweep.checkpoints import decode
from tests.pipeline.commands import Command, run
from tests.stores import stored

pytestmark = pytest.mark.slow

SWEEP = ("-m", "dataset=synthetic", "engine=inprocess", "batch_size=32", "learning_rate=0.01,0.1")


@pytest.fixture
def disk(tmp_path):
    """Return a file system of its own, of half a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system of its own cannot be mounted here: {error}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk, *, leave=0):
    """Write until nothing more can be written, but for ``leave`` bytes."""
    with (disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(disk).f_bavail == 0
    os.truncate(disk / "filler", (disk / "filler").stat().st_size - leave)


def statuses(folder):
    if not (folder / "mlflow.db").exists():
        return []
    try:
        return [status for (status,) in stored(folder, "SELECT status FROM runs")]
    except sqlite3.OperationalError:  # the store was not made
        return []


@pytest.mark.parametrize(
    ("state", "why"), [("read-only", errno.EROFS), ("full", errno.ENOSPC), ("nearly full", errno.ENOSPC)]
)
@pytest.mark.parametrize("many", [True, False], ids=["a sweep", "a trial"])
def test_hydras_files_that_cannot_be_written_are_one_clear_error(tmp_path, disk, empty_store, state, why, many):
    # given a disk that takes no file, or a file or two
    if state == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    else:
        fill(disk, leave=0 if state == "full" else (5 if many else 2) * 4096)
    arguments = [*SWEEP, f"hydra.sweep.dir={disk}/x"] if many else [*SWEEP[1:-1], f"hydra.run.dir={disk}/x"]

    # when a command is sent there
    shutil.copy(empty_store, tmp_path)
    done = run(["-m", "pipeline", *arguments, "steps=20"], tmp_path)

    # then it ends with what is wrong and where, and no trial has run
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "INFO mlflow" not in line)
    assert line.startswith("error: ")
    assert os.strerror(why) in line
    assert str(disk) in line
    assert ("hydra.sweep.dir" if many else "hydra.run.dir") in line
    assert set(statuses(tmp_path)) <= {"FAILED"}
    assert len(statuses(tmp_path)) <= 1


def test_a_disk_that_is_full_in_the_middle_costs_checkpoints_only_and_is_told_once(tmp_path, disk, empty_store):
    shutil.copy(empty_store, tmp_path)
    notes = tmp_path / "notes"
    notes.mkdir()
    each = ("steps=400", "trial.evaluate_every=20", "trial.checkpoint_every=20", f"hydra.sweep.dir={disk}/x")
    program = Path(__file__).with_name("counted.py")
    soon = json.dumps({"pipeline.engine.worker.CHECKPOINT_EVERY": 0.3})
    process = Command([program, *SWEEP, *each], tmp_path, NOTES=str(notes), PAUSE="0.03", CONSTANTS=soon)

    # given a sweep with a checkpoint
    while not (good := sorted(disk.rglob("*.checkpoint"))):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    content = good[-1].read_bytes()
    # when the disk is full
    fill(disk)
    told = process.lines()
    said = next(line for line in told if "no checkpoint could be written" in line)

    # then what was good is good still, nothing half-written is beside it, and the sweep ends well
    assert process.poll() is None
    assert good[-1].read_bytes() == content
    assert decode(content)[1].checkpoint.step > 0
    assert list(disk.rglob("*.part")) == []
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.count("no checkpoint could be written") == 1
    assert f"{good[-1].parent}: {os.strerror(errno.ENOSPC)}" in said
    assert statuses(tmp_path) == ["FINISHED"] * 3
    assert list(disk.rglob("*.checkpoint")) == []


def test_a_log_file_on_a_full_disk_costs_the_log_only(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path)
    full = ("hydra.job_logging.handlers.file.filename=/dev/full", "hydra.verbose=true")

    done = run(["-m", "pipeline", "dataset=synthetic", "steps=20", *full], tmp_path)

    assert done.returncode == 0, done.stderr
    assert statuses(tmp_path) == ["FINISHED"]
    assert "Logging error" not in done.stderr
    assert os.strerror(errno.ENOSPC) not in done.stderr
