"""A sweep of the command line that takes its time and is disturbed, and what its record holds in the end."""

import contextlib
import json
import shutil
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path

import numpy as np

from tests.pipeline.commands import Command
from tests.stores import stored

STEPS = 400
# Two groups of two trials, twenty segments of steps each.
GRID = ("-m", "dataset=synthetic", f"steps={STEPS}", "trial.evaluate_every=20", "batch_size=32,64", "seed=1,2")
EACH = ("trial.checkpoint_every=20",)


class Sweep:
    """The command line in a folder of its own, where it can be killed."""

    def __init__(self, folder, store, pause=0.05, **environment):
        self.folder = folder
        self.notes = folder / "notes"
        self.notes.mkdir(parents=True)
        shutil.copy(store, folder)
        constants = json.dumps({"pipeline.engine.worker.CHECKPOINT_EVERY": 0.3})
        self.environment = {"NOTES": str(self.notes), "PAUSE": str(pause), "CONSTANTS": constants, **environment}

    def start(self, *arguments):
        program = Path(__file__).with_name("counted.py")
        return Command([program, *GRID, *EACH, *arguments], self.folder, **self.environment)

    def run(self, *arguments):
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=180)
        return process.returncode, out, err

    def resume(self, *arguments):
        """Resume to the end, without pauses."""
        self.environment["PAUSE"] = "0"
        return self.run(*arguments, "sweep.resume=true")

    def kill(self, *arguments, checkpoints=(), after=0.0, number=signal.SIGKILL):
        """Start, and send a signal once there is an open record, some computing and the ``checkpoints``.

        These are how many of a group there are at least, a number for each of so many groups. A moment that no test
        counts on may be some seconds ``after`` that. Return the process, whose output is not read.
        """
        process = self.start(*arguments)
        before = len(self.attempts())
        while len(self.attempts()) == before or "RUNNING" not in self.statuses()[0] or not self.has(checkpoints):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        time.sleep(after)
        process.send_signal(number)
        return process

    def has(self, checkpoints):
        """Return whether there are groups with at least so many checkpoints."""
        groups = Counter(file.name.partition("-")[0] for file in self.folder.rglob("*.checkpoint"))
        found = sorted(groups.values(), reverse=True)
        return len(found) >= len(checkpoints) and all(map(int.__ge__, found, checkpoints))

    def attempts(self):
        files = sorted(file for file in self.notes.iterdir() if file.suffix != ".part")
        return [tuple(map(int, file.read_text().split())) for file in files]

    def work(self):
        """Return the steps that all trials were computed for, the repeated ones included."""
        return sum((last - first) * trials for _, first, last, trials in self.attempts())

    def query(self, text, *values):
        return stored(self.folder, text, *values)

    @contextlib.contextmanager
    def store_locked(self):
        """Let nobody else write to the store meanwhile."""
        connection = sqlite3.connect(self.folder / "mlflow.db", timeout=30, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield
        finally:
            connection.close()

    def statuses(self):
        """Return the statuses of the parent runs, and those of the trials' runs by the key of their trial."""
        tags = "SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId'"
        parents = [status for (status,) in self.query(f"SELECT status FROM runs WHERE run_uuid NOT IN ({tags})")]
        trials = {}
        children = "SELECT t.value, r.status FROM runs r JOIN tags t USING (run_uuid) WHERE t.key = 'key' ORDER BY 1, 2"
        for key, status in self.query(children):
            trials.setdefault(key, []).append(status)
        return parents, trials

    def results(self):
        """Return the points and the weights of the finished runs, by the key of their trial."""
        finished = "SELECT r.run_uuid, t.value, r.artifact_uri FROM runs r JOIN tags t USING (run_uuid)"
        found = {}
        for run_id, key, place in self.query(f"{finished} WHERE t.key = 'key' AND r.status = 'FINISHED'"):
            points = "SELECT key, step, value, is_nan FROM metrics WHERE run_uuid = ?"
            with np.load(Path(place.removeprefix("file://")) / "arrays.npz") as arrays:
                found[key] = (sorted(self.query(points, run_id)), dict(arrays))
        return found


def assert_equal(results, expected):
    assert results.keys() == expected.keys()
    for key, (points, arrays) in results.items():
        assert points == expected[key][0]
        assert len({point[:2] for point in points}) == len(points)
        assert arrays.keys() == expected[key][1].keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, expected[key][1][name])
