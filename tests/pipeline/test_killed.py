"""A sweep that is killed at any moment: its log, its store and a sweep that nobody disturbed hold the same points."""

import contextlib
import itertools
import json
import os
import random
import signal

import numpy as np
import pytest

from pipeline.record.log import Log
from pipeline.record.runs import Runs
from tests.pipeline.disturbed import Sweep, assert_equal

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("KILLS", "5"))
EXPORTS = 0.02, 0.3, 1000.0


def points_in_log(folder):
    """Return the points that the log has of the trials, by their keys, in the form of the store."""
    (path,) = folder.rglob("record-*.log")
    with contextlib.closing(Log.open(path)) as log:
        entries = log.read()
        _, opened = next(entries)
        runs = Runs(opened, "1")
        for now, entry in entries:
            runs.apply(entry, now)
    assert runs.closed
    found = {}
    for key, run in runs.runs.items():
        rows = [
            (name, step, 0.0 if np.isnan(value) else value, int(np.isnan(value)))
            for name, one in run.points.curves.series().items()
            for step, value in zip(one.steps.tolist(), one.values.tolist(), strict=True)
        ]
        found[key] = sorted(rows)
    return found


def test_a_driver_killed_at_five_random_moments_is_resumed_to_the_same_end(tmp_path, empty_store, undisturbed):
    # pauses that no five attempts come to the end of
    sweep = Sweep(tmp_path / "disturbed", empty_store, pause=0.2, FIGURES="1")
    generator = random.Random(int(os.environ.get("SEED", "1")))

    # given a driver that is killed, resumed, killed ..., now and then with a log that its store does not follow
    for number in range(KILLS):
        every = {"engine.worker.CHECKPOINT_EVERY": 0.3, "tracking.exporter.EXPORT_EVERY": generator.choice(EXPORTS)}
        sweep.environment["CONSTANTS"] = json.dumps({f"pipeline.{name}": seconds for name, seconds in every.items()})
        resume = ["sweep.resume=true"] if number else []
        process = sweep.kill("engine=inprocess", *resume, after=generator.uniform(0, 8 / KILLS))
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    # when the same command is left to end
    code, out, err = sweep.resume("engine=inprocess")

    # then all three hold the same
    assert code == 0, err
    assert "resumed: " in out
    assert_equal(sweep.results(), undisturbed)
    assert points_in_log(sweep.folder) == {key: points for key, (points, _) in sweep.results().items()}
    parents, trials = sweep.statuses()
    assert parents == ["FINISHED"]
    assert [statuses.count("FINISHED") for statuses in trials.values()] == [1, 1, 1, 1]
    assert set(itertools.chain.from_iterable(trials.values())) <= {"FINISHED", "KILLED"}
    assert not list(tmp_path.rglob("*.checkpoint"))

    # and once more there is nothing to do
    before = sweep.work()
    del sweep.environment["FIGURES"]  # which nobody looks at, and nobody kills any more
    code, out, err = sweep.resume("engine=inprocess")
    assert code == 0, err
    assert "resumed: 4 trials finished already, 0 to go on from a checkpoint, 0 to start" in out
    assert sweep.work() == before
    assert sweep.statuses() == (["FINISHED"], trials)
