import numpy as np
import pytest

from pipeline.engine.ledger import Ledger
from pipeline.engine.protocol import Failed, Finished, Progressed, Started
from pipeline.engine.worker import Begun, Raised
from pipeline.plan import Group, Point, make_plan
from pipeline.schema import parse
from tasks.datasets import Synthetic
from tasks.events import Curve, Outcome, Result

BEGUN = Begun(host="here", blas="blas 1.0")


@pytest.fixture
def ledger():
    dataset = Synthetic(examples=60, test_examples=10, features=4, classes=2, validation=10).load()
    points = [Point(index=seed, overrides=(), config=parse({"seed": seed})) for seed in range(2)]
    trials = make_plan(points, dataset, workers=1).trials
    return Ledger(Group(trials=trials, width=8), threads=3, device="cpu")


def curve(trial, *steps):
    return Curve(trial=trial, steps=np.array(steps), metrics={"train/loss": np.array(steps, dtype=float)})


def result(trial):
    return Result(trial=trial, outcome=Outcome.COMPLETE, step=30, metrics={})


def test_messages_become_reports_of_their_trials(ledger):
    reports = [r for m in (BEGUN, (curve(1, 10),), (result(1), result(0))) for r in ledger.take(m)]

    assert [type(report) for report in reports] == [Started, Started, Progressed, Finished, Finished]
    assert reports[2].trial.index == 1
    assert reports[3].layout.slot == 1
    assert (reports[3].layout.width, reports[3].layout.threads, reports[3].layout.host) == (8, 3, "here")
    assert list(ledger.end()) == []


def test_a_second_attempt_repeats_nothing(ledger):
    first = [r for m in (BEGUN, (curve(0, 10, 20), curve(1, 10), result(1))) for r in ledger.take(m)]

    again = [r for m in (BEGUN, (curve(0, 10), curve(1, 10)), (curve(0, 20, 30), result(1))) for r in ledger.take(m)]

    assert len(first) == 5
    assert len(again) == 1
    assert again[0].curve.steps.tolist() == [30]
    assert again[0].curve.metrics["train/loss"].tolist() == [30.0]


def test_what_raised_fails_the_trials_that_had_not_ended(ledger):
    for message in (BEGUN, (result(0),)):
        list(ledger.take(message))

    failed = list(ledger.take(Raised(error="ValueError: no", traceback="Traceback ...")))

    assert [(type(r), r.trial.index, r.error) for r in failed] == [(Failed, 1, "ValueError: no")]
    assert list(ledger.end()) == []


def test_a_trial_left_without_a_result_fails(ledger):
    list(ledger.take(BEGUN))

    assert [report.trial.index for report in ledger.end()] == [0, 1]
