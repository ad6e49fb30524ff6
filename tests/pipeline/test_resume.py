import itertools
import json
import os
import re
import shutil
import signal
import time

import psutil
import pytest

from tests.pipeline import commands
from tests.pipeline.disturbed import STEPS, Sweep, assert_equal

pytestmark = pytest.mark.slow

PRIVATE = ("engine=ray", "cluster.address=local", "cluster.workers=1")


def test_a_driver_killed_on_ray_is_resumed_on_another_number_of_workers(tmp_path, empty_store, undisturbed, cluster):
    sweep, here = Sweep(tmp_path, empty_store, pause=0.1), ("engine=ray", f"cluster.address={cluster}")
    process = sweep.kill(*here, "cluster.workers=2", checkpoints=(1, 1))
    process.communicate()

    code, out, err = sweep.resume(*here, "cluster.workers=1")

    assert code == 0, err
    assert "4 to go on from a checkpoint" in out
    assert_equal(sweep.results(), undisturbed)
    assert sweep.work() <= 1.5 * 4 * STEPS


def test_a_damaged_checkpoint_is_told_of_and_the_one_before_is_used(tmp_path, empty_store, undisturbed):
    sweep = Sweep(tmp_path, empty_store, pause=0.1)
    process = sweep.kill("engine=inprocess", checkpoints=(2,))
    process.communicate()
    last = max(tmp_path.rglob("*.checkpoint"))
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)

    code, out, err = sweep.resume("engine=inprocess")

    assert code == 0, err
    assert f"damaged, so the checkpoint before it counts: {last}" in out
    assert "2 to go on from a checkpoint" in out
    assert_equal(sweep.results(), undisturbed)


@pytest.fixture(scope="module")
def running(tmp_path_factory, empty_store):
    """A sweep that another process computes as long as there are tests that use it."""
    sweep = Sweep(tmp_path_factory.mktemp("running"), empty_store, pause=60)
    process = sweep.kill("engine=inprocess", number=0)
    yield sweep
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_sweep_that_is_running_is_not_resumed_beside_itself(running):
    code, _, err = running.resume("engine=inprocess")

    assert code == 2
    assert "the sweep must not be running elsewhere" in err
    # It has touched nothing of the other's.
    assert "KILLED" not in json.dumps(running.statuses())


def test_a_sweep_that_is_running_is_left_alone_by_one_of_changed_trials(running):
    code, out, err = running.resume("engine=inprocess", "learning_rate=0.005")

    assert code == 0, err
    assert "the nearest is" in out
    assert "ended as KILLED" not in out
    assert sorted(running.statuses()[0]) == ["FINISHED", "RUNNING"]


def test_without_an_earlier_sweep_resuming_starts_one(tmp_path, empty_store, undisturbed):
    sweep = Sweep(tmp_path, empty_store, pause=0)

    code, out, err = sweep.run("engine=inprocess", "sweep.resume=true")

    assert code == 0, err
    assert "the record holds no sweep of these trials" in out
    assert_equal(sweep.results(), undisturbed)


def test_of_changed_trials_it_is_said_what_differs_and_what_nobody_computes_is_ended(tmp_path, empty_store):
    sweep = Sweep(tmp_path, empty_store, pause=0.03)
    process = sweep.kill("engine=inprocess", number=0)
    while not sweep.query("SELECT * FROM params"):  # what a trial is has been recorded
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    code, out, err = sweep.resume("engine=inprocess", "learning_rate=0.005")

    assert code == 0, err
    told = re.search(r"the nearest is batch_size on synthetic \(run \w+\): (.*)", out)
    assert told is not None, out
    assert told[1] == "learning_rate was 0.001, is 0.005"
    assert re.search(r"ended as KILLED: \d runs? that no process computes, of batch_size on synthetic", out)
    parents, trials = sweep.statuses()
    assert sorted(parents) == ["FINISHED", "KILLED"]
    assert set(itertools.chain.from_iterable(trials.values())) == {"FINISHED", "KILLED"}

    # and what was ended can be gone on with nevertheless
    code, out, err = sweep.resume("engine=inprocess")
    assert code == 0, err
    assert "resumed: " in out
    assert sweep.statuses()[0] == ["FINISHED", "FINISHED"]


def test_figures_of_finished_trials_that_were_not_drawn_any_more_are_drawn_on_resuming(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path)
    sweep = ["-m", "pipeline", "-m", "dataset=synthetic", "steps=20", "seed=1,2", "engine=inprocess"]
    sweep.append("tracking.register_model=false")
    # given a sweep of which no figure was drawn, as of one that is killed when all trials have ended
    end = commands.run(sweep, tmp_path)
    assert end.returncode == 0, end.stderr
    assert not list(tmp_path.glob("mlruns/*/*/artifacts/figures/*"))

    end = commands.run([*sweep, "sweep.resume=true"], tmp_path, FIGURES="1")

    assert end.returncode == 0, end.stderr
    assert "resumed: 2 trials finished already" in end.stdout
    drawn = {path.parent for path in tmp_path.glob("mlruns/*/*/artifacts/figures/*")}
    assert len(drawn) == 3  # of two trials and the sweep


def test_a_second_interrupt_stops_at_once_and_leaves_no_process(tmp_path, empty_store, undisturbed):
    sweep = Sweep(tmp_path, empty_store, pause=0.03)
    process = sweep.kill(*PRIVATE, after=1.0, number=0)
    children = psutil.Process(process.pid).children(recursive=True)
    assert any("ray::" in " ".join(child.cmdline()) for child in children)

    # given a first interrupt that waits for its record
    with sweep.store_locked():
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
    code, _, err = sweep.resume("engine=inprocess")
    assert code == 0, err
    assert sweep.statuses()[0] == ["FINISHED"]
    assert_equal(sweep.results(), undisturbed)


def test_a_driver_that_ray_takes_with_it_has_said_how_to_go_on(tmp_path, empty_store, undisturbed):
    soon = {"RAY_health_check_period_ms": "500"}  # Ray asks five times, by default every three seconds
    sweep = Sweep(tmp_path, empty_store, pause=0.05, **soon)
    process = sweep.kill(*PRIVATE, after=1.0, number=0)
    children = psutil.Process(process.pid).children(recursive=True)
    next(child for child in children if child.name() == "raylet").kill()

    _, err = process.communicate(timeout=120)

    assert process.returncode != 0
    assert "Ray's own process has ended, which ends this one: go on with the same command and sweep.resume=true" in err
    code, out, err = sweep.resume("engine=inprocess")
    assert code == 0, err
    assert "resumed: " in out
    assert_equal(sweep.results(), undisturbed)


def test_a_killed_worker_is_replaced_and_the_record_counts_the_attempts(tmp_path, empty_store, undisturbed, cluster):
    sweep = Sweep(tmp_path, empty_store, pause=0.1)
    process = sweep.kill("engine=ray", f"cluster.address={cluster}", number=0)
    os.kill(sweep.attempts()[-1][0], signal.SIGKILL)
    (sweep.notes / "go.part").touch()

    out, err = process.communicate(timeout=120)

    assert process.returncode == 0, err
    assert ": 2 trials (gradient batch=" in out
    assert "are computed again, attempt 2, from step " in out
    assert sweep.query("SELECT value FROM tags WHERE key = 'attempts'") == [("2",), ("2",)]
    errors = [text for (text,) in sweep.query("SELECT value FROM tags WHERE key = 'attempt.1.error'")]
    assert [re.sub(r"\(.*\)|\d+", "N", text) for text in errors] == ["lost with its worker N; from step N"] * 2
    logs = [log.read_text() for log in tmp_path.rglob("trial.log")]
    assert sum(f"attempt 2, after: {errors[0]}\n" in log for log in logs) == 2
    assert_equal(sweep.results(), undisturbed)


def test_a_trial_that_raises_costs_the_others_nothing_and_is_run_again_on_resuming(tmp_path, empty_store, undisturbed):
    sweep = Sweep(tmp_path, empty_store, pause=0, RAISES="2")

    code, out, err = sweep.run("engine=inprocess")

    assert code == 1
    assert len(re.findall("^failed: gradient batch=(32|64) seed=2: ValueError: poison$", out, re.MULTILINE)) == 1
    assert out.count("ValueError: poison") == 2  # where it was met first, and how it is looked for
    assert "2 of 4 trials failed: ValueError: poison" in err
    assert 'raise ValueError("poison")' in err
    assert "trials: gradient batch=32 seed=2, gradient batch=64 seed=2\n" in err
    assert "  rerun one here in a debugger: HYDRA_FULL_ERROR=1 python -m pdb " in err
    (log,) = tmp_path.rglob("faults.log")
    assert f"in full: {log} and" in err
    assert log.read_text().count("Traceback (most recent call last)") == 1
    parents, trials = sweep.statuses()
    assert parents == ["FAILED"]
    assert sorted(itertools.chain.from_iterable(trials.values())) == ["FAILED", "FAILED", "FINISHED", "FINISHED"]

    # when what made them fail is mended
    del sweep.environment["RAISES"]
    code, out, err = sweep.resume("engine=inprocess")

    assert code == 0, err
    assert "resumed: 2 trials finished already" in out
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
