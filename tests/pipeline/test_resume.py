import itertools
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.pipeline.commands import Command

pytestmark = pytest.mark.slow

STEPS = 400
# Two groups of two trials, twenty stretches of steps each.
GRID = ("-m", "dataset=synthetic", f"steps={STEPS}", "trial.evaluate_every=20", "batch_size=32,64", "seed=1,2")
EACH = ("trial.checkpoint_every=20",)


class Sweep:
    """The command line in a folder of its own, where it can be killed."""

    def __init__(self, folder, store, pause=0.05, **environment):
        self.folder = folder
        self.notes = folder / "notes"
        self.notes.mkdir()
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

    def kill(self, *arguments, after, number=signal.SIGKILL):
        """Start, and send a signal ``after`` seconds of computing with an open record.

        Return the process, whose output is not read.
        """
        process = self.start(*arguments)
        before = len(self.attempts())
        while len(self.attempts()) == before or "RUNNING" not in self.statuses()[0]:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        time.sleep(after)
        process.send_signal(number)
        return process

    def attempts(self):
        files = sorted(file for file in self.notes.iterdir() if file.suffix != ".part")
        return [tuple(map(int, file.read_text().split())) for file in files]

    def work(self):
        """Return the steps that all trials were computed for, the repeated ones included."""
        return sum((last - first) * trials for _, first, last, trials in self.attempts())

    def query(self, text, *values):
        connection = sqlite3.connect(self.folder / "mlflow.db", timeout=30)
        try:
            return connection.execute(text, values).fetchall()
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
            points = "SELECT key, step, value, is_nan FROM metrics WHERE run_uuid = ? AND key NOT LIKE 'wall_clock/%'"
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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, empty_store):
    sweep = Sweep(tmp_path_factory.mktemp("undisturbed"), empty_store, pause=0)
    code, _, err = sweep.run("engine=inprocess")
    assert code == 0, err
    results = sweep.results()
    assert len(results) == 4
    return results


def test_a_driver_killed_at_five_random_moments_is_resumed_to_the_same_end(tmp_path, empty_store, undisturbed):
    sweep, generator = Sweep(tmp_path, empty_store), random.Random(6)

    # given a driver that is killed, resumed, killed ...
    for number in range(5):
        resume = ["sweep.resume=true"] if number else []
        process = sweep.kill("engine=inprocess", *resume, after=generator.uniform(0.6, 1.4))
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    # when the same command is left to end
    code, out, err = sweep.run("engine=inprocess", "sweep.resume=true")

    # then it is as if nothing had been
    assert code == 0, err
    assert "resumed: " in out
    parents, trials = sweep.statuses()
    assert parents == ["FINISHED"]
    assert [statuses.count("FINISHED") for statuses in trials.values()] == [1, 1, 1, 1]
    assert set(itertools.chain.from_iterable(trials.values())) <= {"FINISHED", "KILLED"}
    assert_equal(sweep.results(), undisturbed)
    assert sweep.work() <= 1.5 * 4 * STEPS
    assert not list(tmp_path.rglob("*.checkpoint"))

    # and once more there is nothing to do
    before = sweep.work()
    code, out, err = sweep.run("engine=inprocess", "sweep.resume=true")
    assert code == 0, err
    assert "resumed: 4 trials are finished already, 0 go on from a checkpoint, 0 start" in out
    assert sweep.work() == before
    assert sweep.statuses() == (["FINISHED"], trials)


def test_a_driver_killed_on_ray_is_resumed_on_another_number_of_workers(tmp_path, empty_store, undisturbed, cluster):
    sweep, here = Sweep(tmp_path, empty_store, pause=0.03), ("engine=ray", f"cluster.address={cluster}")
    process = sweep.kill(*here, "cluster.workers=2", after=1.5)
    process.communicate()

    code, out, err = sweep.run(*here, "cluster.workers=1", "sweep.resume=true")

    assert code == 0, err
    assert "4 go on from a checkpoint" in out
    assert_equal(sweep.results(), undisturbed)
    assert sweep.work() <= 1.5 * 4 * STEPS


def test_a_damaged_checkpoint_is_told_of_and_the_one_before_is_used(tmp_path, empty_store, undisturbed):
    sweep = Sweep(tmp_path, empty_store, pause=0.03)
    process = sweep.kill("engine=inprocess", after=1.2)
    process.communicate()
    last = max(tmp_path.rglob("*.checkpoint"))
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)

    code, out, err = sweep.run("engine=inprocess", "sweep.resume=true")

    assert code == 0, err
    assert f"damaged, so the checkpoint before it counts: {last}" in out
    assert "2 go on from a checkpoint" in out
    assert_equal(sweep.results(), undisturbed)


def test_a_sweep_that_is_running_is_not_resumed_beside_itself(tmp_path, empty_store):
    sweep = Sweep(tmp_path, empty_store, pause=0.5)
    process = sweep.kill("engine=inprocess", after=0, number=0)

    code, _, err = sweep.run("engine=inprocess", "sweep.resume=true")
    process.send_signal(signal.SIGKILL)
    process.communicate()

    assert code == 2
    assert "the sweep must not be running elsewhere" in err
    # It has touched nothing of the other's.
    assert "KILLED" not in json.dumps(sweep.statuses())


def test_without_an_earlier_sweep_resuming_starts_one(tmp_path, empty_store, undisturbed):
    sweep = Sweep(tmp_path, empty_store, pause=0)

    code, out, err = sweep.run("engine=inprocess", "sweep.resume=true")

    assert code == 0, err
    assert "the record holds no sweep of these trials" in out
    assert_equal(sweep.results(), undisturbed)


def test_a_second_interrupt_stops_at_once_and_leaves_no_process(tmp_path, empty_store, undisturbed, cluster):
    sweep = Sweep(tmp_path, empty_store, pause=0.03)
    process = sweep.kill("engine=ray", "cluster.address=local", after=1.0, number=0)
    children = psutil.Process(process.pid).children(recursive=True)
    assert any("ray::" in " ".join(child.cmdline()) for child in children)

    process.send_signal(signal.SIGINT)
    time.sleep(1.0)  # two that come as one are one
    process.send_signal(signal.SIGINT)
    process.wait(timeout=10)

    assert process.returncode == 130
    process.communicate(timeout=15)
    _, alive = psutil.wait_procs(children, timeout=15)
    # Ray's two agents look out for their cluster a minute longer, and compute nothing.
    assert [child for child in alive if not child.name().endswith("Agent")] == []

    # and what was known can be gone on from
    code, _, err = sweep.run("engine=ray", f"cluster.address={cluster}", "sweep.resume=true")
    assert code == 0, err
    assert sweep.statuses()[0] == ["FINISHED"]
    assert_equal(sweep.results(), undisturbed)


def test_a_killed_worker_is_replaced_and_the_record_counts_the_attempts(tmp_path, empty_store, undisturbed, cluster):
    sweep = Sweep(tmp_path, empty_store, pause=0.03)
    process = sweep.kill("engine=ray", f"cluster.address={cluster}", after=1.0, number=0)
    os.kill(sweep.attempts()[-1][0], signal.SIGKILL)

    out, err = process.communicate(timeout=120)

    assert process.returncode == 0, err
    assert "lost with its worker: 2 trials" in out
    assert "are computed again, attempt 2, from step " in out
    assert sweep.query("SELECT value FROM tags WHERE key = 'attempts'") == [("2",), ("2",)]
    errors = [text for (text,) in sweep.query("SELECT value FROM tags WHERE key = 'attempt.1.error'")]
    assert [re.sub(r"\d+", "N", text) for text in errors] == ["lost with its worker; from step N"] * 2
    logs = [log.read_text() for log in tmp_path.rglob("trial.log")]
    assert sum(f"attempt 2, after: {errors[0]}\n" in log for log in logs) == 2
    assert_equal(sweep.results(), undisturbed)


def test_a_trial_that_raises_costs_the_others_nothing_and_is_run_again_on_resuming(tmp_path, empty_store, undisturbed):
    sweep = Sweep(tmp_path, empty_store, pause=0, RAISES="2")

    code, out, err = sweep.run("engine=inprocess")

    assert code == 1
    assert "failed: gradient batch=32 seed=2: ValueError: poison" in out
    assert "gradient batch=32 seed=2: ValueError: poison" in err
    parents, trials = sweep.statuses()
    assert parents == ["FAILED"]
    assert sorted(itertools.chain.from_iterable(trials.values())) == ["FAILED", "FAILED", "FINISHED", "FINISHED"]

    # when what made them fail is mended
    del sweep.environment["RAISES"]
    code, out, err = sweep.run("engine=inprocess", "sweep.resume=true")

    assert code == 0, err
    assert "resumed: 2 trials are finished already" in out
    assert sweep.statuses()[0] == ["FINISHED"]
    assert_equal(sweep.results(), undisturbed)


def test_fail_fast_starts_nothing_after_a_failure(tmp_path, empty_store):
    sweep = Sweep(tmp_path, empty_store, pause=0, RAISES="2")

    code, out, _ = sweep.run("engine=inprocess", "sweep.fail_fast=true")

    assert code == 1
    assert "not finished" in out
    parents, trials = sweep.statuses()
    assert parents == ["FAILED"]
    assert len(trials) < 4
