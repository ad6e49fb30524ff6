"""What every recorder promises, whatever it keeps a sweep in."""

import math

import pytest

from pipeline.record.protocol import Provenance
from pipeline.reports import Failed, Finished, Progressed, Retried, Started
from pipeline.tracking.mlflow_recorder import MlflowRecorder
from pipeline.tracking.reader import open_reader
from tests.memory_recorder import MemoryRecorder
from tests.pipeline.record.recording import block, done, header


class Memory(MemoryRecorder):
    def points(self, trial, metric):
        curves = [curve for curve in self.curves[trial.key] if metric in curve.metrics]
        points = [pair for one in curves for pair in zip(one.steps.tolist(), one.metrics[metric].tolist(), strict=True)]
        return [(step, value) for step, value in points if not math.isnan(value)]

    def attempts_of(self, trial):
        return self.attempts[trial.key]

    def result(self, trial):
        return self.results[trial.key].step, self.results[trial.key].arrays["weights"].tolist()

    def failure(self, trial):
        return self.failures[trial.key].splitlines()[0]


class Mlflow(MlflowRecorder):
    def read(self, trial):
        return open_reader(self.uri).trial(self.run_id(trial))

    def points(self, trial, metric):
        curve = self.read(trial).curves[metric]
        return list(zip(curve.steps.tolist(), curve.values.tolist(), strict=True))

    def attempts_of(self, trial):
        return int(self.read(trial).tags["attempts"])

    def result(self, trial):
        read = self.read(trial)
        return int(read.tags["outcome.step"]), read.arrays["weights"].tolist()

    def failure(self, trial):
        return self.read(trial).tags["outcome.message"]


@pytest.fixture(params=["memory", "mlflow"])
def recorder(request, experiment):
    return Memory() if request.param == "memory" else Mlflow(request.getfixturevalue("store_uri"), experiment)


@pytest.fixture
def record(recorder, tiny):
    """Return what takes reports of a sweep of given trials and closes it."""

    def make(trials, *reports):
        recorder.open(header(*trials), tiny, Provenance())
        for report in reports:
            recorder.record(report)
        recorder.close("FINISHED")
        return recorder

    return make


def test_a_point_that_is_given_twice_is_kept_once(record, trial, layout):
    one, other = trial("one"), trial("other")
    first, again = block(0, 10, loss=lambda s: s / 7), block(5, 15, loss=lambda s: s / 7)

    recorder = record(
        (one, other),
        Started(trial=one),
        Started(trial=other),
        Progressed(trial=one, curve=first),
        Progressed(trial=other, curve=first),
        Retried(trials=(one,), attempt=2, step=5, parts=1, error="lost with its worker"),
        Started(trial=one, step=5),
        Progressed(trial=one, curve=first),
        Progressed(trial=one, curve=again),
        Finished(trial=one, result=done(step=14), layout=layout),
        Finished(trial=other, result=done(step=9), layout=layout),
    )

    assert recorder.points(one, "loss") == [(step, step / 7) for step in range(15)]
    assert recorder.points(other, "loss") == [(step, step / 7) for step in range(10)]
    assert recorder.attempts_of(one) == 2
    assert recorder.result(one) == (14, done().arrays["weights"].tolist())


def test_metrics_of_the_same_step_in_two_blocks_are_both_kept_and_a_nan_is_no_point(record, trial, layout):
    planned, nan = trial(), float("nan")

    recorder = record(
        (planned,),
        Started(trial=planned),
        Progressed(trial=planned, curve=block(0, 3, **{"train/loss": lambda s: [1.0, nan, 0.5]})),
        Progressed(trial=planned, curve=block(2, 3, **{"val/loss": lambda s: s / 4})),
        Finished(trial=planned, result=done(step=2), layout=layout),
    )

    assert recorder.points(planned, "train/loss") == [(0, 1.0), (2, 0.5)]
    assert recorder.points(planned, "val/loss") == [(2, 0.5)]


def test_a_trial_that_fails_before_it_starts_keeps_its_error(record, trial):
    planned = trial()

    recorder = record((planned,), Failed(trial=planned, error="lost with its worker", traceback=""))

    assert recorder.failure(planned) == "lost with its worker"
