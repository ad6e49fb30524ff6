"""A sweep recorded in a real store can be read back whole, by MLflow and by this project."""

import dataclasses
import errno
import json
import os
import socket
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest

from pipeline.backfill.backfill import backfill
from pipeline.errors import RecordError
from pipeline.figures.drawings import DRAWN_TRIALS
from pipeline.record.protocol import Provenance
from pipeline.reports import Finished, Progressed, Started
from pipeline.tracking import exporter, mlflow_recorder
from pipeline.tracking.mlflow_recorder import MlflowRecorder
from pipeline.tracking.reader import open_reader
from pipeline.tracking.unfinished import find_past
from tests.pipeline.record.recording import PROVENANCE, block, done, header, note


def test_a_sweep_is_a_parent_and_its_children_with_all_that_is_needed_to_run_them_again(
    store_uri, experiment, client, tiny, trial, layout
):
    planned = trial("random", strategy={"name": "random"}, learning_rate=0.25, tracking={"uri": "http://a:b@c"})
    recorder = MlflowRecorder(store_uri, experiment)

    recorder.open(header(planned), tiny, PROVENANCE)
    recorder.record(Started(trial=planned))
    for start in range(0, 1000, 100):
        recorder.record(
            Progressed(trial=planned, curve=block(start, start + 100, **{"train/loss": lambda s: 1 / (s + 3)}))
        )
    recorder.record(Finished(trial=planned, result=done(step=999, **{"test/accuracy": 0.75}), layout=layout))
    recorder.close("FINISHED")

    recorded = open_reader(store_uri).trial(recorder.run_id(planned))
    assert recorded.curves["train/loss"].steps.tolist() == list(range(1000))
    assert recorded.curves["train/loss"].values.tolist() == [1 / (s + 3) for s in range(1000)]
    assert (recorded.curves["test/accuracy"].steps, recorded.curves["test/accuracy"].values) == ([999], [0.75])
    assert recorded.arrays["weights"].tobytes() == done().arrays["weights"].tobytes()
    assert recorded.config["learning_rate"] == 0.25
    assert "tracking" not in recorded.config
    assert (recorded.layout, recorded.overrides[:2]) == (layout, planned.overrides[:2])
    assert recorded.overrides[2] == "tracking={'uri': 'http://***@c'}"
    assert (recorded.tags["dataset.digest"], recorded.status, recorded.name) == (tiny.digest, "FINISHED", "random")

    run = client.get_run(recorded.run_id)
    assert run.data.params["strategy"] == "random"
    assert run.data.params["learning_rate"] == "0.25"
    assert not any(name.startswith(("tracking", "cluster", "sweep")) for name in run.data.params)
    assert run.data.tags["outcome"] == "complete"
    assert run.data.tags["key"] == planned.key
    assert run.data.tags["mlflow.source.git.commit"] == "abc"
    assert run.inputs.dataset_inputs[0].dataset.digest == tiny.digest[:36]

    parent = client.get_run(run.data.tags["mlflow.parentRunId"])
    assert (parent.info.run_name, parent.info.status) == ("strategies on tiny", "FINISHED")
    assert f"[random](#/experiments/{recorded.experiment_id}/runs/{recorded.run_id})" in note(parent)
    assert {f.path for f in client.list_artifacts(parent.info.run_id)} == {
        "results.csv",
        "results.json",
        "provenance",
        "signature.json",
    }
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"]) == [{"path": "results.json", "type": "table"}]
    assert parent.info.run_id in recorder.how_to_look()


def test_what_is_told_before_the_store_is_open_is_recorded_with_its_own_times(
    store_uri, experiment, client, tiny, trial, layout
):
    planned, recorder = trial("early"), MlflowRecorder(store_uri, experiment)
    recorder.record(Started(trial=planned))
    recorder.record(Progressed(trial=planned, curve=block(0, 10, **{"train/loss": lambda s: 1 / (s + 3)})))
    told = time.time_ns() // 1_000_000
    time.sleep(0.05)

    recorder.open(header(planned), tiny, Provenance())
    recorder.record(Finished(trial=planned, result=done(step=9), layout=layout))
    recorder.close("FINISHED")

    run = client.get_run(recorder.run_id(planned))
    points = client.get_metric_history(run.info.run_id, "train/loss")
    assert [point.step for point in points] == list(range(10))
    assert max(point.timestamp for point in points) <= told
    assert run.info.start_time <= told
    assert client.get_run(run.data.tags["mlflow.parentRunId"]).info.status == "FINISHED"


def test_a_lone_trial_has_no_parent(store_uri, experiment, client, tiny, trial, layout):
    planned = trial()
    recorder = MlflowRecorder(store_uri, experiment)

    recorder.open(None, tiny, Provenance())
    recorder.record(Started(trial=planned))
    recorder.record(Finished(trial=planned, result=done(), layout=layout))
    recorder.close("FINISHED")

    run = client.get_run(recorder.run_id(planned))
    assert "mlflow.parentRunId" not in run.data.tags
    assert len(client.search_runs([run.info.experiment_id])) == 1
    assert f"runs/{run.info.run_id}" in recorder.how_to_look()


def test_points_appear_while_the_trial_runs(store_uri, experiment, client, tiny, trial, monkeypatch):
    monkeypatch.setattr(exporter, "EXPORT_EVERY", 0.05)
    planned = trial()
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(None, tiny, Provenance())
    recorder.record(Started(trial=planned))
    recorder.record(Progressed(trial=planned, curve=block(0, 10, loss=lambda s: s)))

    deadline = time.monotonic() + 20
    found = []
    while len(found) < 10 and time.monotonic() < deadline:
        time.sleep(0.05)
        run_id = recorder.run_id(planned)
        found = client.get_metric_history(run_id, "loss") if run_id else []

    assert [m.step for m in found] == list(range(10))
    recorder.close("KILLED")
    assert client.get_run(recorder.run_id(planned)).info.status == "KILLED"


def test_a_trial_that_starts_and_reports_again_is_recorded_once(store_uri, experiment, tiny, trial, layout):
    planned = trial()
    recorder = MlflowRecorder(store_uri, experiment)

    recorder.open(None, tiny, Provenance())
    for _ in range(2):
        recorder.record(Started(trial=planned))
        recorder.record(Progressed(trial=planned, curve=block(0, 5, loss=lambda s: s)))
    recorder.record(Finished(trial=planned, result=done(), layout=layout))
    recorder.close("FINISHED")

    assert open_reader(store_uri).trial(recorder.run_id(planned)).curves["loss"].values.tolist() == [0, 1, 2, 3, 4]


def test_a_store_that_fails_is_told_at_the_end_and_never_before(
    store_uri, experiment, tiny, trial, layout, tmp_path, monkeypatch
):
    monkeypatch.setattr(exporter, "PATIENCE", 0.5)
    planned = trial()
    recorder = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    recorder.open(None, tiny, Provenance())
    recorder.record(Started(trial=planned))

    def full(*_):
        raise OSError("disk full at http://ann:s3cret@host")

    recorder._store.apply = full
    recorder.record(Progressed(trial=planned, curve=block(0, 5, loss=lambda s: s)))
    recorder.record(Finished(trial=planned, result=done(), layout=layout))

    with pytest.raises(RecordError, match=r"disk full at http://\*\*\*@host"):
        recorder.close("FINISHED")


def test_what_a_full_disk_kept_out_of_the_log_is_written_once_there_is_room(
    store_uri, experiment, tiny, trial, tmp_path, monkeypatch
):
    monkeypatch.setattr(mlflow_recorder, "FLUSH_EVERY", 0.05)
    recorder, write, refused = MlflowRecorder(store_uri, experiment, folder=tmp_path), os.pwrite, []
    recorder.open(None, tiny, Provenance())

    def full(*_):
        refused.append(1)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    recorder.record(Started(trial=trial()))
    recorder.sync()
    assert refused
    assert not recorder._log.is_whole

    monkeypatch.setattr(os, "pwrite", write)
    deadline = time.monotonic() + 30
    while not recorder._log.is_whole and time.monotonic() < deadline:
        time.sleep(0.05)
    assert recorder._log.is_whole
    recorder.close("KILLED")


def test_a_deleted_experiment_is_refused(store_uri, experiment, client, tiny):
    client.delete_experiment(client.create_experiment(experiment))

    with pytest.raises(RecordError, match=r"tracking\.experiment must be an experiment that is not deleted"):
        MlflowRecorder(store_uri, experiment).open(None, tiny, Provenance())


def test_a_server_that_is_none_is_refused_within_ten_seconds(experiment, tiny):
    # A socket that accepts and never answers: the slowest way of not being a tracking server.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()

        with pytest.raises(RecordError, match=r"tracking\.uri must be a store that can be reached"):
            MlflowRecorder(f"http://127.0.0.1:{silent.getsockname()[1]}", experiment).open(None, tiny, Provenance())

        assert time.monotonic() - start < 10
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_importing_the_recorder_imports_no_mlflow():
    code = "import sys, pipeline.tracking.mlflow_recorder, pipeline.tracking.reader; print('mlflow' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def peak(action):
    """Return the most bytes that were allocated at once while an action went on."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_log_is_read_again_without_the_arrays_of_all_its_trials_in_memory(
    store_uri, experiment, tiny, trial, layout, tmp_path
):
    # given a sweep of so many trials that they have no figures, with weights of a megabyte each, whole in its store
    trials = [trial(str(k), learning_rate=1.0 + k) for k in range(2 * DRAWN_TRIALS)]
    result = dataclasses.replace(done(**{"val/accuracy": 0.5}), arrays={"weights": np.ones(1_000_000, np.uint8)})
    recorder = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    recorder.open(header(*trials), tiny, Provenance())
    for planned in trials:
        recorder.record(Finished(trial=planned, result=result, layout=layout))
    recorder.close("KILLED")
    (log,) = tmp_path.glob("record-*.log")

    # when it is resumed, and backfilled
    def resume():
        past = find_past(store_uri, experiment, "a sweep")
        again = MlflowRecorder(store_uri, experiment, folder=tmp_path)
        known = again.open(header(*trials), tiny, Provenance(), past)
        again.close("FINISHED")
        assert len(known.ended) == len(trials)

    resumed, backfilled = peak(resume), peak(lambda: backfill(log, None))

    # then a few trials at a time are in memory
    assert log.stat().st_size > 40e6
    assert max(resumed, backfilled) < 20e6
