import dataclasses

import numpy as np
import pytest

from pipeline.config.schema import parse
from pipeline.engine.faults import after_end, after_lost_worker, after_raise, after_timeout
from pipeline.engine.ledger import CommonError, Ledger
from pipeline.engine.worker import GroupStarted
from pipeline.plan.balance import Load
from pipeline.plan.plan import Group, Point, Progress, make_plan
from pipeline.raised import Raised
from pipeline.reports import Checkpointed, Failed, Finished, Paused, Printed, Progressed, Retried, Started
from tasks.cost import DataSize, cost
from tasks.datasets import Synthetic
from tasks.events import Checkpoint, Curve, Outcome, Pause, Result

LOST = "lost with its worker (exit code 3) in attempt {}, 2 of 2 alone"
BEGUN = GroupStarted(host="here", device="cpu", threads=3, blas="blas 1.0")


@pytest.fixture(scope="module")
def dataset():
    return Synthetic(examples=60, test_examples=10, features=4, classes=2, validation=10).load()


@pytest.fixture(scope="module")
def trials(dataset):
    return make_plan([Point(index=k, overrides=(), config=parse({"seed": k})) for k in range(2)], dataset).trials


@pytest.fixture
def ledger(trials):
    return Ledger.of(Group(trials=trials))


def going_on(trials, *, reported=False):
    """Return the ledger of trials of 1000 steps that go on from step 250 to step 500."""
    checkpoint = Checkpoint(step=250, trials=np.arange(2), arrays={"weights": np.zeros((2, 1))})
    start = Progress(checkpoint=checkpoint, curves=(curve(0, 250), curve(1, 100, 250)), reported=reported)
    return Ledger.of(Group(trials=trials, start=start, until=500))


def curve(trial, *steps):
    return Curve(trial=trial, steps=np.array(steps), metrics={"train/loss": np.array(steps, dtype=float)})


def result(trial):
    return Result(trial=trial, outcome=Outcome.COMPLETE, step=30, metrics={})


def test_messages_become_reports_of_their_trials(ledger):
    reports = [r for m in (BEGUN, (curve(1, 10),), (result(1), result(0))) for r in ledger.reports_of(m)]

    assert [type(report) for report in reports] == [Started, Started, Progressed, Finished, Finished]
    assert reports[2].trial.index == 1
    assert reports[3].layout.slot == 1
    assert (reports[3].layout.width, reports[3].layout.threads, reports[3].layout.host) == (2, 3, "here")
    assert ledger.open() == []


def test_a_trial_that_has_ended_reports_no_more_and_its_message_is_plain(ledger):
    list(ledger.reports_of(BEGUN))
    said = dataclasses.replace(result(0), message="as \x1b[31mred\x1b[0m\n")

    (finished,) = ledger.reports_of((said, curve(0, 40), result(0)))

    assert "\x1b" not in finished.result.message
    assert finished.result.message.endswith("\n")


def test_an_error_is_common_to_parts_that_raise_it_at_the_same_place_and_no_later():
    raised = Raised(error="ValueError: no", traceback="Traceback ...", place="here")
    common = CommonError(raised=raised, step=10, parts=2)

    assert common.same(dataclasses.replace(raised, error="ValueError: 3"), 10)
    assert not common.same(raised, 11)
    assert not common.same(dataclasses.replace(raised, place="there"), 10)
    common.refuted = True
    assert not common.same(raised, 10)


def test_a_second_attempt_repeats_nothing(ledger):
    first = [r for m in (BEGUN, (curve(0, 10, 20), curve(1, 10), result(1))) for r in ledger.reports_of(m)]

    _, (second,) = ledger.again(1, "lost with its worker", lost_workers=1)
    again = [r for m in (BEGUN, (curve(0, 10),), (curve(0, 20, 30),)) for r in second.reports_of(m)]

    assert len(first) == 5
    assert len(again) == 1
    assert again[0].curve.steps.tolist() == [30]
    assert again[0].curve.metrics["train/loss"].tolist() == [30.0]


def test_what_raised_fails_the_one_trial_that_had_not_ended(ledger):
    for message in (BEGUN, (result(0),)):
        list(ledger.reports_of(message))

    reports, again = after_raise(ledger, Raised(error="ValueError: no", traceback="Traceback ..."))

    assert [(type(r), r.trial.index, r.error) for r in reports] == [(Failed, 1, "ValueError: no")]
    assert again == []
    assert ledger.open() == []


def test_a_trial_left_without_a_result_fails(ledger):
    list(ledger.reports_of(BEGUN))

    reports, again = after_end(ledger)

    assert [(type(r), r.trial.index) for r in reports] == [(Failed, 0), (Failed, 1)]
    assert again == []


def test_what_a_group_prints_is_reported_as_it_comes_for_each_of_its_trials_that_has_not_ended(ledger):
    # given trials that print much, in two attempts
    texts = [f"{number}: {'x' * 100_000}\n" for number in range(12)]
    reports = [r for m in (BEGUN, *texts[:9]) for r in ledger.reports_of(m)]
    _, (second,) = ledger.again(1, "lost with its worker", lost_workers=1)

    reports += [r for m in (BEGUN, (result(0),), *texts[9:]) for r in second.reports_of(m)]

    printed = [[r.text for r in reports if isinstance(r, Printed) and r.trial.index == index] for index in range(2)]
    assert printed == [texts[:9], texts]


def test_a_trial_that_kills_its_worker_is_found_in_halves(ledger):
    (retried,), (again,) = after_lost_worker(ledger, "exit code 3", "killed", attempts=2)
    assert (retried.attempt, retried.parts, len(retried.trials)) == (2, 1, 2)

    (retried,), halves = after_lost_worker(again, "exit code 3", "killed", attempts=2)
    assert (retried.parts, [len(half.open()) for half in halves]) == (2, [1, 1])

    (retried,), (alone,) = after_lost_worker(halves[1], "exit code 3", "killed", attempts=2)
    assert (retried.attempt, retried.alone) == (4, (2, 2))
    (failed,), left = after_lost_worker(alone, "exit code 3", "killed", attempts=2)
    assert (failed.trial.index, failed.error, left) == (1, LOST.format(4), [])


def test_a_trial_that_is_alone_since_an_idle_worker_took_the_others_has_all_of_its_own_attempts(ledger):
    _, (again,) = after_lost_worker(ledger, "exit code 3", "killed", attempts=2)
    alone, _ = again.split(2)

    (retried,), _ = after_lost_worker(alone, "exit code 3", "killed", attempts=2)

    assert (type(retried), retried.alone) == (Retried, (2, 2))


def test_a_group_that_was_getting_on_is_not_halved_for_being_slow(ledger):
    reports, again = after_timeout(ledger, 10.0, silent=1.0)

    assert [report.trial.index for report in reports] == [0, 1]
    assert again == []


def test_a_group_has_come_as_far_as_its_last_checkpoint_though_it_has_no_point_there(ledger, dataset):
    # given a point at half of the steps, and a checkpoint after nine tenths of them
    checkpoint = Checkpoint(step=900, trials=np.array([0, 1]), arrays={})

    for message in (BEGUN, (curve(0, 500), curve(1, 500), checkpoint)):
        list(ledger.reports_of(message))

    # then 90 s for nine tenths are 100 s for all, and halves lose nothing that has been done
    size = DataSize.of(dataset)
    whole = cost(ledger.trials, size)
    saved = ledger.saved_by_split(size, seconds=90.0, silent=0.0)
    assert saved == pytest.approx(10.0 - 10.0 * whole.of(1) / whole.of(2))


def test_halves_go_on_from_the_checkpoint_of_their_group(ledger):
    checkpoint = Checkpoint(step=20, trials=np.array([1, 0]), arrays={"weights": np.array([[1.0], [0.0]])})
    reports = [r for m in (BEGUN, (curve(0, 10), curve(1, 10), curve(1, 20), checkpoint)) for r in ledger.reports_of(m)]

    # The report holds what another process needs: the state in the order of the trials, and their points.
    saved = reports[-1]
    assert isinstance(saved, Checkpointed)
    assert saved.progress.checkpoint.trials.tolist() == [1, 0]
    assert [(c.trial, c.steps.tolist()) for c in saved.progress.curves] == [(0, [10]), (1, [10, 20])]

    (retried,), halves = ledger.again(2, "an error", lost_workers=1)
    assert retried.step == 20
    for k, half in enumerate(halves):
        start = half.start
        assert (start.step, start.trials.tolist(), start.arrays["weights"].tolist()) == (20, [0], [[float(k)]])


def test_the_points_of_an_earlier_process_are_reported_again_and_those_of_this_one_are_not(trials):
    reports = list(going_on(trials).reports_of(BEGUN))

    assert [type(report) for report in reports] == [Started, Progressed] * 2
    assert [report.step for report in reports[::2]] == [250, 250]
    assert [(one.trial.index, one.curve.steps.tolist()) for one in reports[1::2]] == [(0, [250]), (1, [100, 250])]
    assert list(going_on(trials, reported=True).reports_of(BEGUN)) == []


def test_a_group_pauses_with_all_points_of_its_trials_and_without_those_that_have_ended(trials):
    made = going_on(trials)
    weights = np.array([[1.0], [2.0]])
    pause = Pause(checkpoint=Checkpoint(step=500, trials=np.arange(2), arrays={"weights": weights}))

    *_, paused = [r for m in (BEGUN, (curve(1, 500), result(0), pause)) for r in made.reports_of(m)]

    assert isinstance(paused, Paused)
    assert [trial.index for trial in paused.trials] == [1]
    assert paused.progress.checkpoint.arrays["weights"].tolist() == [[2.0]]
    assert [(c.trial, c.steps.tolist()) for c in paused.progress.curves] == [(0, [100, 250, 500])]
    assert made.open() == []


def test_what_is_left_of_a_group_ends_where_it_pauses(trials, dataset):
    made, size = going_on(trials), DataSize.of(dataset)
    whole = cost([one.trial for one in trials], size)

    list(made.reports_of(BEGUN))
    list(made.reports_of((curve(0, 375),)))

    half = whole.of(1) / whole.of(2)
    # which took 40 s for a quarter: 160 s * 1/4 are left of the whole, and 160 s * 1/2 of each half
    saved = made.saved_by_split(size, seconds=40.0, silent=1.0)
    assert saved == pytest.approx(40.0 - 80.0 * half - 1.0)
    assert made.remaining_load(size) == Load(trials=2, cost=whole.times(1 / 8), widest=2)
    assert [part.until for part in made.split(2)] == [500, 500]
    assert Ledger.of(Group(trials=trials)).remaining_load(size) == Load(trials=2, cost=whole, widest=2)
    # a group that has come to its end is not for nothing: its results are still to come
    list(made.reports_of((curve(0, 500),)))
    assert made.remaining_load(size).cost == pytest.approx(whole.times(1 / 100))
