"""A project is moved after a sweep: what it records and reads is where it is now, from whatever folder it is read."""

import re
import shutil

import numpy as np
import pytest

from tests.pipeline.commands import run

SWEEP = (
    "-m",
    "pipeline",
    "-m",
    "engine=inprocess",
    "steps=5",
    "batch_size=8",
    "dataset=npz",
    "dataset.root=data/set.npz",
    "seed=0,1",
)

pytestmark = pytest.mark.slow


def swept(folder, *overrides, **environment):
    """Run a sweep and return its parent run."""
    done = run([*SWEEP, *overrides], folder, **environment)
    assert done.returncode == 0, done.stderr
    return re.search(r"viewStateShareKey=(\w+)", done.stdout)[1]


def reproduced(parent, store, folder):
    done = run(["-m", "pipeline.reproduce", parent, "--tracking-uri", f"sqlite:///{store}/mlflow.db"], folder)
    assert done.returncode == 0, done.stderr
    assert "2 bit for bit equal" in done.stdout


def backfilled(log, folder, code, *options):
    done = run(["-m", "pipeline.backfill", str(log), *options], folder)
    assert done.returncode == code
    return done.stderr + done.stdout


def test_a_project_that_is_moved_is_reproduced_from_anywhere_and_goes_on_where_it_is(tmp_path):
    old, new, elsewhere = tmp_path / "old", tmp_path / "new", tmp_path / "elsewhere"
    for folder in (old / "data", elsewhere):
        folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 4, 4), dtype=np.uint8), rng.integers(0, 3, 60)
    arrays = {"images": images, "labels": labels}
    parts = {f"{part}_{what}": array for part in ("train", "test") for what, array in arrays.items()}
    np.savez(old / "data/set.npz", **parts)
    first = swept(old, FIGURES="1")

    shutil.move(old, new)

    (log,) = new.rglob("record-*.log")
    assert f"--tracking-uri must be given: the store was in {old}, which is no more" in backfilled(log, elsewhere, 2)
    assert "an address is needed" in backfilled(log, elsewhere, 2, "--tracking-uri", "")
    assert "0 missing reports" in backfilled(log, elsewhere, 0, "--tracking-uri", f"sqlite:///{new}/mlflow.db")
    reproduced(first, new, elsewhere)
    reproduced(swept(new, "learning_rate=0.5"), new, elsewhere)
    resumed = run([*SWEEP, "sweep.resume=true"], new)
    assert resumed.returncode == 0, resumed.stderr
    page = run(["-m", "pipeline.report", first, "--tracking-uri", f"sqlite:///{new}/mlflow.db"], elsewhere)
    assert page.returncode == 0, page.stderr
    assert "<img" in (elsewhere / f"report-{first}.html").read_text()
    assert not old.exists()
    assert {path.name for path in elsewhere.iterdir()} == {f"report-{first}.html"}
