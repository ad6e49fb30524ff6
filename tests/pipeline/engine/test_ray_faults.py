import os
import signal
import time

import numpy as np
import pytest

from pipeline.engine.protocol import run
from pipeline.reports import Checkpointed, Progressed, Retried, Started
from tests.clusters import start_cluster

WORDLESS = "it ended without a message: by SIGKILL, as when the system is out of memory, or by os._exit"

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def all_cpus_free_afterwards(cluster):
    yield
    import ray

    ray.init(cluster, log_to_driver=False)
    try:
        deadline = time.monotonic() + 20
        while ray.available_resources().get("CPU") != 2:
            assert time.monotonic() < deadline, ray.available_resources()
            time.sleep(0.2)
    finally:
        ray.shutdown()


@pytest.mark.usefixtures("all_cpus_free_afterwards")
def test_trials_of_workers_that_are_killed_go_on_from_their_last_checkpoints(computing, engine, tmp_path):
    # given groups that are not done before three workers have been killed
    points = computing.planned(4, steps=400, trial={"evaluate_every": 20})
    task = computing.Disturbed(folder=str(tmp_path), pause=0.05, between=0.5, culprit=None, how="wait", step=380)
    groups = computing.groups_of(points, task=task)
    kept, killed, lost = dict.fromkeys(range(4), 0), set(), []

    def kill(report):
        match report:
            case Checkpointed(trials=trials, progress=progress):
                kept.update({trial.index: progress.checkpoint.step for trial in trials})
                process = next(at for at, *_, seeds in computing.attempts(tmp_path)[::-1] if trials[0].index in seeds)
                if process not in killed and len(killed) < 3:
                    os.kill(process, signal.SIGKILL)
                    killed.add(process)
                if len(killed) == 3:
                    (tmp_path / "go.part").touch()
            case Retried(trials=trials, step=step):
                assert {kept[trial.index] for trial in trials} == {step}
                lost.append(step)

    # when they are, each after a checkpoint
    curves, results, failures = computing.outcomes(engine(attempts=9, checkpoint_every=20), groups, kill)

    # then all end as if nothing had been, and nothing that a checkpoint holds is computed again
    assert failures == {}
    assert set(results) == set(range(4))
    computing.assert_same_bits(curves, results, computing.undisturbed(points))
    assert len(lost) == 3
    assert min(lost) > 0
    assert {first for _, first, _, _ in computing.attempts(tmp_path)} == {0, *lost}


@pytest.mark.usefixtures("all_cpus_free_afterwards")
def test_a_poison_trial_that_kills_its_worker_fails_alone(computing, engine, tmp_path):
    points = computing.planned(4)
    task = computing.Disturbed(folder=str(tmp_path), culprit=2)

    curves, results, failures = computing.outcomes(
        engine(attempts=2), computing.groups_of(points, task=task, workers=1)
    )

    assert {index: failure.error for index, failure in failures.items()} == {
        2: f"lost with its worker ({WORDLESS}) in attempt 5, 2 of 2 alone"
    }
    assert set(results) == set(range(4)) - {2}
    computing.assert_same_bits(curves, results, computing.undisturbed(points))
    # and it was found in halves
    assert [len(seeds) for *_, seeds in computing.attempts(tmp_path) if 2 in seeds] == [4, 4, 2, 1, 1]


@pytest.mark.usefixtures("all_cpus_free_afterwards")
def test_why_a_worker_was_lost_is_said(computing, engine, tmp_path):
    # given trials, each in a group of its own, that end their process or ask it to end
    why = {
        "crash": "lost with its worker (by SIGSEGV) in attempt 1, 1 of 1 alone",
        "terminate": "lost with its worker (by SIGTERM) in attempt 1, 1 of 1 alone",
        "leave": f"lost with its worker ({WORDLESS}) in attempt 1, 1 of 1 alone",
        "exit": "SystemExit: 3 (it asked its process to exit)",
        "interrupt": "KeyboardInterrupt",
    }
    tasks = [computing.Disturbed(folder=str(tmp_path), culprit=None, how=how) for how in why]
    points = computing.planned(len(why))
    groups = [group for at, task in enumerate(tasks) for group in computing.groups_of([points[at]], task=task)]

    _, results, failures = computing.outcomes(engine(attempts=1), groups)

    assert results == {}
    told = {how: failures[at] for at, how in enumerate(why)}
    assert {how: failure.error for how, failure in told.items()} == why
    for how in ("crash", "exit", "interrupt"):  # the whole has the place
        assert f"in {how}" in told[how].traceback


@pytest.mark.usefixtures("all_cpus_free_afterwards")
def test_a_trial_that_raises_fails_alone(computing, engine, tmp_path):
    points = computing.planned(5)
    task = computing.Disturbed(folder=str(tmp_path), culprit=2, how="throw")

    curves, results, failures = computing.outcomes(engine(workers=1), computing.groups_of(points, task=task))

    assert {index: failure.error for index, failure in failures.items()} == {2: "ValueError: poison"}
    assert "Traceback" in failures[2].traceback
    assert set(results) == {0, 1, 3, 4}
    computing.assert_same_bits(curves, results, computing.undisturbed(points))


@pytest.mark.usefixtures("all_cpus_free_afterwards")
def test_what_all_trials_raise_is_found_to_be_so_on_several_workers(computing, engine, tmp_path):
    task = computing.Disturbed(folder=str(tmp_path), culprit=None, how="throw")

    _, results, failures = computing.outcomes(
        engine(), computing.groups_of(computing.planned(16), task=task, workers=1)
    )

    assert results == {}
    assert {failure.raised.error for failure in failures.values()} == {"ValueError: poison"}
    assert len(failures) == 16
    assert sorted(len(seeds) for *_, seeds in computing.attempts(tmp_path)) == [1, 1, 8, 8, 16]


@pytest.mark.usefixtures("all_cpus_free_afterwards")
def test_a_trial_that_hangs_is_ended_and_its_neighbours_finish(computing, engine, tmp_path):
    points = computing.planned(3)
    task = computing.Disturbed(folder=str(tmp_path), culprit=0, how="hang")

    curves, results, failures = computing.outcomes(
        engine(timeout=5.0), computing.groups_of(points, task=task, workers=1)
    )

    assert {index: failure.error for index, failure in failures.items()} == {0: "trial.timeout: took longer than 5.0 s"}
    assert set(results) == {1, 2}
    computing.assert_same_bits(curves, results, computing.undisturbed(points))


@pytest.mark.usefixtures("all_cpus_free_afterwards")
def test_a_trial_whose_code_hangs_or_raises_where_a_worker_imports_it_fails(computing, engine):
    points = computing.planned(1)

    _, _, hung = computing.outcomes(engine(timeout=1.0), computing.groups_of(points, task=computing.HangsOnImport()))
    _, _, raised = computing.outcomes(engine(), computing.groups_of(points, task=computing.Elsewhere()))

    assert hung[0].error == "trial.timeout: took longer than 1.0 s"
    assert raised[0].error == "ModuleNotFoundError: No module named 'that_is_not_there'"


@pytest.mark.usefixtures("all_cpus_free_afterwards")
def test_a_group_that_is_only_slow_is_ended_once(computing, engine, tmp_path):
    # Half the limit without a message would be a group that hangs: four pauses, since a busy machine adds its own.
    task = computing.Disturbed(folder=str(tmp_path), pause=0.5)

    _, results, failures = computing.outcomes(
        engine(timeout=4.0, workers=1),
        computing.groups_of(computing.planned(4, trial={"evaluate_every": 5}), task=task, workers=1),
    )

    assert results == {}
    late = "trial.timeout: took longer than 4.0 s"
    assert {index: failure.error for index, failure in failures.items()} == dict.fromkeys(range(4), late)
    assert len(computing.attempts(tmp_path)) == 1


@pytest.mark.usefixtures("all_cpus_free_afterwards")
def test_a_group_that_ended_in_time_while_the_driver_was_stopped_has_not_taken_too_long(computing, engine, tmp_path):
    task = computing.Disturbed(folder=str(tmp_path), pause=0.05)

    def stop(report):
        if isinstance(report, Started):
            time.sleep(9.0)

    groups = computing.groups_of(computing.planned(1, trial={"evaluate_every": 5}), task=task)
    _, results, failures = computing.outcomes(engine(timeout=8.0), groups, stop)

    assert failures == {}
    assert set(results) == {0}


@pytest.mark.usefixtures("all_cpus_free_afterwards")
def test_a_sweep_that_is_left_early_leaves_nothing_running(computing, engine, tmp_path):
    task = computing.Disturbed(folder=str(tmp_path), culprit=0, how="hang")

    with engine() as running:
        for _ in run(running, computing.groups_of(computing.planned(2), task=task), computing.DATASET):
            break


def test_data_larger_than_the_object_store_are_spilled_and_read(computing, engine):
    from pipeline.plan.plan import Group, make_plan
    from tasks.datasets.dataset import Split, make_dataset

    # given an object store of 80 MB and images of half as much again
    images = np.random.default_rng(0).integers(0, 256, (40_000, 3072), dtype=np.uint8)
    train = Split(images=images, labels=np.arange(40_000) % 2)
    test = Split(images=images[:100], labels=train.labels[:100])
    data = make_dataset(name="large", train=train, test=test, classes=("a", "b"), image_shape=(3072,), validation=100)
    assert data.train.images.nbytes > 120_000_000
    node = start_cluster(num_cpus=1, object_store_memory=80_000_000)
    try:
        trials = make_plan(computing.planned(1, steps=20), data).trials
        with engine(node.address, workers=1) as running:
            ends = list(run(running, [Group(trials=trials)], data))
    finally:
        node.shutdown()

    assert type(ends[-1]).__name__ == "Finished"


def test_while_no_worker_may_start_again_yet_the_driver_waits_without_turning_in_a_circle(
    computing, engine, tmp_path, monkeypatch
):
    # given a sweep whose one worker waits, after others could not start
    monkeypatch.setattr("pipeline.engine.ray_workers.START_AGAIN_AFTER", 3.0)
    points = computing.planned(1, trial={"evaluate_every": 20})
    task = computing.Disturbed(folder=str(tmp_path), culprit=None, how="wait", step=40)
    with engine(workers=1) as running:
        running.load(computing.DATASET)
        running.submit(computing.groups_of(points, task=task), last=True)
        batches, turns = running.batches(), 0
        while not computing.attempts(tmp_path):
            next(batches)
        running._pool._not_before = time.monotonic() + 3.0

        # when it is lost
        (tmp_path / "go.part").touch()
        os.kill(computing.attempts(tmp_path)[0][0], signal.SIGKILL)
        reports = []
        for batch in batches:
            turns += 1
            reports += batch

    # then its trial is computed by the next, and no CPU was taken until that one could start
    assert type(reports[-1]).__name__ == "Finished"
    assert turns < 100


@pytest.mark.usefixtures("all_cpus_free_afterwards")
def test_a_worker_that_is_lost_while_it_is_idle_costs_no_trial_an_attempt(computing, engine, tmp_path):
    points = computing.planned(2)
    first, second = (computing.groups_of([point], task=computing.Telling(folder=str(tmp_path))) for point in points)
    with engine(workers=1, attempts=1) as running:
        # given a worker that waits for more after its first trial
        running.load(computing.DATASET)
        running.submit(first, last=False)
        reports = list(running.reports())
        (told,) = computing.told(tmp_path)

        # when it is killed, and a trial follows that may lose no worker
        os.kill(told["process"], signal.SIGKILL)
        time.sleep(1.0)
        running.submit(second, last=True)
        reports += running.reports()

    # then another worker computes it
    assert [type(report).__name__ for report in reports if not isinstance(report, Progressed)] == [
        "Started",
        "Finished",
        "Started",
        "Finished",
    ]
