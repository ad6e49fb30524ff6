import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.engine.inprocess import InProcess
from pipeline.signals import StopSignals
from tasks.events import Outcome


@pytest.fixture(scope="module")
def computing():
    spec = importlib.util.spec_from_file_location("computing", Path(__file__).with_name("computing.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def engine(**settings):
    return InProcess(**{"threads": 1, "device": "cpu", **settings})


def test_every_trial_ends_once_with_its_curves(computing):
    curves, results, failures = computing.outcomes(engine(), computing.groups_of(computing.planned(3)))

    assert failures == {}
    assert {index: result.outcome for index, result in results.items()} == dict.fromkeys(range(3), Outcome.COMPLETE)
    assert computing.merged(curves)[2, "train/loss"][0].tolist() == [10, 20, 30, 40, 50]


def test_the_threads_change_no_bit(computing):
    # A few examples are one block, which one thread computes; the draws of a search are shared by all of them.
    groups = computing.groups_of(computing.planned(3, strategy={"name": "random"}, batch_size=None))
    one, _, _ = computing.outcomes(engine(threads=1), groups)
    four, _, _ = computing.outcomes(engine(threads=4), groups)

    assert {index for index, _ in computing.merged(one)} == {0, 1, 2}
    for name, (steps, values) in computing.merged(one).items():
        np.testing.assert_array_equal(steps, computing.merged(four)[name][0])
        np.testing.assert_array_equal(values, computing.merged(four)[name][1])


def test_what_a_trial_raises_fails_its_group_with_the_traceback(computing):
    groups = computing.groups_of(computing.planned(2), task=computing.Raising())

    curves, results, failures = computing.outcomes(engine(), groups)

    assert set(curves) == {0, 1}
    assert results == {}
    assert failures[1].error == "ValueError: the loss is on strike"
    assert "Traceback" in failures[1].traceback


def test_a_group_that_takes_too_long_fails(computing):
    groups = computing.groups_of(computing.planned(1), task=computing.Hanging())

    _, _, failures = computing.outcomes(engine(timeout=0.2), groups)

    assert failures[0].error == "trial.timeout: took longer than 0.2 s"


def test_what_is_done_with_the_reports_of_a_group_is_no_time_of_its(computing, tmp_path):
    groups = computing.groups_of(computing.planned(1), task=computing.Disturbed(folder=str(tmp_path)))

    _, results, failures = computing.outcomes(engine(timeout=1.0), groups, lambda report: time.sleep(1.5))

    assert failures == {}
    assert set(results) == {0}


def test_a_trial_that_raises_fails_alone_and_its_neighbours_keep_their_bits(computing, tmp_path):
    points = computing.planned(6)
    task = computing.Disturbed(folder=str(tmp_path), culprit=4, how="throw")

    curves, results, failures = computing.outcomes(engine(), computing.groups_of(points, task=task, workers=1))

    assert {index: failure.error for index, failure in failures.items()} == {4: "ValueError: poison"}
    assert set(results) == {0, 1, 2, 3, 5}
    computing.assert_same_bits(curves, results, computing.undisturbed(points))
    assert len(computing.attempts(tmp_path)) <= 7


def test_neighbours_go_on_from_the_last_checkpoint(computing, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.engine.worker.CHECKPOINT_EVERY", 0.0)
    points = computing.planned(4)
    task = computing.Disturbed(folder=str(tmp_path), culprit=0, how="throw", step=37)

    curves, results, failures = computing.outcomes(
        engine(checkpoint_every=10), computing.groups_of(points, task=task, workers=1)
    )

    assert set(failures) == {0}
    computing.assert_same_bits(curves, results, computing.undisturbed(points))
    assert [first for _, first, _, _ in computing.attempts(tmp_path)][1:] == [30] * 4


def test_what_all_trials_raise_is_not_looked_for_further_than_both_halves_and_two_alone(computing, tmp_path):
    task = computing.Disturbed(folder=str(tmp_path), culprit=None, how="throw")

    _, results, failures = computing.outcomes(
        engine(), computing.groups_of(computing.planned(16), task=task, workers=1)
    )

    assert results == {}
    assert {failure.error for failure in failures.values()} == {"ValueError: poison"}
    assert len(failures) == 16
    assert sorted(len(seeds) for *_, seeds in computing.attempts(tmp_path)) == [1, 1, 8, 8, 16]


@pytest.mark.parametrize("culprits", [(1, 9), (0, 15), (0, 8), (3, 4, 12), tuple(range(1, 16))], ids=str)
def test_trials_of_both_halves_that_raise_the_same_do_not_take_the_others_along(computing, tmp_path, culprits):
    points = computing.planned(16)
    task = computing.Disturbed(folder=str(tmp_path), culprit=culprits, how="throw")

    curves, results, failures = computing.outcomes(engine(), computing.groups_of(points, task=task, workers=1))

    # What both the first and the last trial raise is taken to be everybody's.
    everybody = {0, 15} <= set(culprits)
    assert set(failures) == (set(range(16)) if everybody else set(culprits))
    if not everybody:
        computing.assert_same_bits(curves, results, computing.undisturbed(points))


@pytest.mark.parametrize(
    ("how", "error"),
    [("exit", "SystemExit: 3 (it asked its process to exit)"), ("interrupt", "KeyboardInterrupt")],
)
def test_a_trial_that_asks_its_process_to_end_fails(computing, tmp_path, how, error):
    task = computing.Disturbed(folder=str(tmp_path), culprit=0, how=how)

    with StopSignals():
        _, _, failures = computing.outcomes(engine(), computing.groups_of(computing.planned(1), task=task))

    assert failures[0].error == error


def test_what_python_raises_in_place_of_a_stop_iteration_is_told_as_that(computing, tmp_path):
    task = computing.Disturbed(folder=str(tmp_path), culprit=0, how="stop")

    _, _, failures = computing.outcomes(engine(), computing.groups_of(computing.planned(1), task=task))

    assert failures[0].error == "StopIteration"
    assert "next(iter(()))" in failures[0].raised.frames


def test_trials_pause_where_their_group_ends_and_go_on_in_another_to_the_same_bits(computing):
    computing.assert_paused_trials_go_on(engine())
