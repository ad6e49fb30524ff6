"""A trial's run holds its end, whatever it is, and all that belongs to it."""

import json
import re
from pathlib import Path

import pytest
from mlflow.models import ModelSignature

from pipeline.figures.drawings import Figures
from pipeline.output import LONGEST_OUTPUT, TrialOutput
from pipeline.record.protocol import Provenance
from pipeline.record.trial_run import OUTPUT
from pipeline.reports import Failed, Finished, Printed, Progressed, Retried, Started
from pipeline.tracking.mlflow_recorder import MlflowRecorder
from pipeline.tracking.reader import open_reader
from tasks.events import Outcome, Result
from tests.pipeline.record.recording import block, done, header
from tests.pipeline.record.recording import logged as entries_in


def test_a_diverged_trial_keeps_the_value_it_diverged_with(store_uri, experiment, tiny, trial, layout):
    planned = trial()
    recorder = MlflowRecorder(store_uri, experiment)

    recorder.open(None, tiny, Provenance())
    recorder.record(Started(trial=planned))
    recorder.record(
        Progressed(
            trial=planned, curve=block(1, 3, loss=lambda s: [1.0, float("inf")], norm=lambda s: [1.0, float("nan")])
        )
    )
    recorder.record(Finished(trial=planned, result=done(Outcome.DIVERGED, step=2), layout=layout))
    recorder.close("FINISHED")

    recorded = open_reader(store_uri).trial(recorder.run_id(planned))
    assert (recorded.status, recorded.tags["outcome"]) == ("FINISHED", "diverged")
    assert recorded.curves["loss"].values.tolist() == [1.0, float("inf")]
    assert recorded.curves["norm"].values.tolist() == pytest.approx([1.0, float("nan")], nan_ok=True)


def test_a_failed_trial_keeps_its_points_and_its_traceback(store_uri, experiment, client, tiny, trial):
    planned, never_started = trial(), trial()
    recorder = MlflowRecorder(store_uri, experiment)

    recorder.open(header(planned, never_started), tiny, Provenance())
    recorder.record(Started(trial=planned))
    recorder.record(Progressed(trial=planned, curve=block(0, 5, loss=lambda s: s)))
    recorder.record(Failed(trial=planned, error="ValueError: bad", traceback="Traceback ..."))
    recorder.record(Failed(trial=never_started, error="lost with its worker", traceback=""))
    recorder.close("FAILED")

    recorded = open_reader(store_uri).trial(recorder.run_id(planned))
    assert (recorded.status, recorded.layout, recorded.arrays) == ("FAILED", None, {})
    assert recorded.tags["outcome.message"] == "ValueError: bad"
    assert len(recorded.curves["loss"].steps) == 5
    assert "traceback.txt" in {file.path for file in client.list_artifacts(recorded.run_id)}
    assert client.get_run(recorder.run_id(never_started)).info.status == "FAILED"


def test_figures_are_drawn_from_the_trials_curves(store_uri, experiment, client, tiny, trial, layout):
    planned = trial()

    def figures(drawn, result, curves, dataset):
        assert (drawn, dataset.digest) == (planned, tiny.digest)
        return {"loss.txt": str(curves["loss"].values.sum()).encode()}

    recorder = MlflowRecorder(store_uri, experiment, figures=Figures(trial=figures))
    recorder.open(None, tiny, Provenance())
    recorder.record(Started(trial=planned))
    recorder.record(Progressed(trial=planned, curve=block(0, 5, loss=lambda s: s)))
    recorder.record(Finished(trial=planned, result=done(), layout=layout))
    recorder.close("FINISHED")

    path = client.download_artifacts(recorder.run_id(planned), "figures/loss.txt")
    assert Path(path).read_text() == "10.0"


def logged(client, run_id):
    """Return the lines of a trial's log without their times, which must ascend."""
    lines = Path(client.download_artifacts(run_id, "trial.log")).read_text().splitlines()
    times, told = zip(*(line.split(" ", 1) for line in lines), strict=True)
    assert list(times) == sorted(times)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time) for time in times)
    return list(told)


def test_the_log_tells_what_happened_to_a_trial(store_uri, experiment, client, tiny, trial, layout):
    planned = trial("gradient lr=1", steps=20)
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(None, tiny, Provenance())
    recorder.record(Started(trial=planned, host="there", step=10))
    recorder.record(Progressed(trial=planned, curve=block(11, 16, **{"train/loss": lambda s: s})))
    recorder.record(
        Progressed(
            trial=planned, curve=block(15, 16, **{"val/loss": lambda s: s / 4, "val/accuracy": lambda s: s / 20})
        )
    )
    recorder.record(Retried(trials=(planned,), attempt=2, step=10, parts=1, error="lost with its worker"))
    recorder.record(
        Progressed(
            trial=planned, curve=block(15, 16, **{"val/loss": lambda s: s / 4, "val/accuracy": lambda s: s / 20})
        )
    )
    recorder.record(Finished(trial=planned, result=done(step=20, **{"test/accuracy": 0.75}), layout=layout))
    recorder.close("FINISHED")

    assert logged(client, recorder.run_id(planned)) == [
        "started on there: gradient lr=1, 20 steps on tiny, from step 10",
        "attempt 2, after: lost with its worker; from step 10",
        "complete at step 20",
        "at the end: test/accuracy 0.75, train/loss 15, val/accuracy 0.75, val/loss 3.75",
        "computed on here, cpu: place 2 of 8, 1 threads, openblas 0.3 Haswell",
    ]


def test_the_log_of_a_trial_that_failed_or_was_killed_says_so(store_uri, experiment, client, tiny, trial):
    failed, killed = trial("a"), trial("b", steps=5)
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(header(failed, killed), tiny, Provenance())
    recorder.record(Started(trial=failed))
    recorder.record(Started(trial=killed))
    recorder.record(Failed(trial=failed, error="ValueError: two\nlines", traceback="Traceback ..."))
    recorder.close("KILLED")

    assert logged(client, recorder.run_id(killed)) == ["started: b, 5 steps on tiny", "killed: its sweep was stopped"]
    log = Path(client.download_artifacts(recorder.run_id(failed), "trial.log")).read_text()
    assert log.splitlines()[1].endswith(" failed: ValueError: two")
    assert log.splitlines()[2] == "    lines"


def test_what_was_trained_has_a_signature_that_mlflow_reads(store_uri, experiment, client, tiny, trial, layout):
    trained, checked = trial(), trial(task={"name": "gradient_check"})
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(header(trained, checked), tiny, Provenance())
    for planned in (trained, checked):
        recorder.record(Started(trial=planned))
        recorder.record(Finished(trial=planned, result=done(), layout=layout))
    recorder.close("FINISHED")

    parent = client.get_run(recorder.run_id(trained)).data.tags["mlflow.parentRunId"]
    kept = Path(client.download_artifacts(parent, "signature.json")).read_text()
    signature = ModelSignature.from_dict(json.loads(kept))
    assert signature.inputs.inputs[0].shape == (-1, 2, 2)
    assert signature.outputs.input_names() == ["class", "scores"]
    assert "signature.json" not in {file.path for file in client.list_artifacts(recorder.run_id(checked))}


def test_what_a_trial_has_printed_is_a_file_of_its_run(store_uri, experiment, client, tiny, trial, layout):
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(None, tiny, Provenance())
    ended, failed, quiet = trial("ended"), trial("failed"), trial("quiet")
    result = Result(trial=0, outcome=Outcome.COMPLETE, step=1, metrics={})

    for one, text in ((ended, "one\n"), (ended, "two\n"), (failed, "x" * (LONGEST_OUTPUT + 1))):
        recorder.record(Printed(trial=one, text=text))
    recorder.record(Finished(trial=ended, result=result, layout=layout))
    recorder.record(Finished(trial=quiet, result=result, layout=layout))
    recorder.record(Failed(trial=failed, error="poison", traceback=""))
    recorder.close("FINISHED")

    def text(one):
        return Path(client.download_artifacts(recorder.run_id(one), OUTPUT)).read_text()

    assert text(ended) == "one\ntwo\n"
    half = "x" * (LONGEST_OUTPUT // 2)
    assert text(failed) == f"{half}\n... what was printed here is left out ...\n{half}"
    assert OUTPUT not in {file.path for file in client.list_artifacts(recorder.run_id(quiet))}


@pytest.mark.parametrize("end", ["result", "failure", "kill"])
def test_what_a_trial_prints_without_end_fills_no_log_and_its_start_and_end_are_kept(
    store_uri, experiment, client, tiny, trial, layout, tmp_path, end
):
    recorder, one = MlflowRecorder(store_uri, experiment, folder=tmp_path), trial()
    recorder.open(header(one), tiny, Provenance())
    texts, whole, logged_again = [f"{number}: {'x' * 100_000}\n" for number in range(25)], TrialOutput(), TrialOutput()

    for text in texts:
        whole.add(text)
        recorder.record(Printed(trial=one, text=text))
    if end == "result":
        recorder.record(Finished(trial=one, result=done(), layout=layout))
    elif end == "failure":
        recorder.record(Failed(trial=one, error="poison", traceback=""))
    recorder.close("KILLED")

    # then the log has little more than the output that a person sees, and all of that
    in_log = [entry["text"] for entry in entries_in(tmp_path, "Printed")]
    for text in in_log:
        logged_again.add(text)
    assert sum(map(len, in_log)) < 1.2 * LONGEST_OUTPUT
    assert "\n... what was printed here is left out ...\n" in whole.text()
    kept = Path(client.download_artifacts(recorder.run_id(one), OUTPUT)).read_text()
    assert kept == whole.text() == logged_again.text()
