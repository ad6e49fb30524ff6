"""A sweep recorded in a real store can be read back whole, by MLflow and by this project."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.recorder import mlflow_recorder, store, sweep_run
from pipeline.recorder.address import redact
from pipeline.recorder.description import Reference, describe
from pipeline.recorder.mlflow_recorder import MlflowRecorder
from pipeline.recorder.protocol import RecordError, SweepHeader
from pipeline.recorder.reading import read_run, set_tags
from pipeline.tally import Tally
from tasks.events import Curve, Outcome, Result


def header(*trials):
    return SweepHeader(
        name="strategies on tiny",
        overrides=("strategy=random,local",),
        trials=trials,
        provenance={"git.commit": "abc", "command": "python -m pipeline -m strategy=random,local"},
        attachments={"versions.txt": "numpy==2"},
    )


def block(start, stop, **metrics):
    steps = np.arange(start, stop)
    return Curve(trial=0, steps=steps, metrics={name: np.asarray(f(steps), float) for name, f in metrics.items()})


def done(outcome=Outcome.COMPLETE, step=10, **metrics):
    arrays = {"weights": np.arange(6, dtype=np.float32).reshape(2, 3) / 7}
    return Result(trial=0, outcome=outcome, step=step, metrics=metrics, arrays=arrays, message="")


def note(run):
    return run.data.tags.get("mlflow.note.content", "")


@pytest.fixture
def client(store_uri):
    return store.connect(store_uri, create=False)


def test_a_sweep_is_a_parent_and_its_children_with_all_that_is_needed_to_run_them_again(
    store_uri, experiment, client, tiny, trial, layout
):
    planned = trial("random", strategy={"name": "random"}, learning_rate=0.25, tracking={"uri": "http://a:b@c"})
    recorder = MlflowRecorder(store_uri, experiment)

    recorder.open(header(planned), tiny)
    recorder.start(planned, header().provenance, {"uncommitted.diff": "+1"})
    for start in range(0, 1000, 100):
        recorder.points(planned, block(start, start + 100, **{"train/loss": lambda s: 1 / (s + 3)}))
    recorder.finish(planned, done(step=999, **{"test/accuracy": 0.75}), layout)
    recorder.close("FINISHED")

    recorded = read_run(store_uri, recorder.run_id(planned))
    assert recorded.curves["train/loss"].steps.tolist() == list(range(1000))
    assert recorded.curves["train/loss"].values.tolist() == [1 / (s + 3) for s in range(1000)]
    assert (recorded.curves["test/accuracy"].steps, recorded.curves["test/accuracy"].values) == ([999], [0.75])
    assert recorded.arrays["weights"].tobytes() == done().arrays["weights"].tobytes()
    assert recorded.config["learning_rate"] == 0.25
    assert "tracking" not in recorded.config
    assert (recorded.layout, recorded.overrides) == (layout, planned.overrides)
    assert (recorded.dataset_digest, recorded.status, recorded.name) == (tiny.digest, "FINISHED", "random")

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
    assert {f.path for f in client.list_artifacts(parent.info.run_id)} == {"results.csv", "results.json", "provenance"}
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"]) == [{"path": "results.json", "type": "table"}]
    assert parent.info.run_id in recorder.how_to_look()


@pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes:DeprecationWarning")
def test_the_result_table_is_one_that_mlflow_loads(store_uri, experiment, client, tiny, trial, layout, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_uri)
    recorder = MlflowRecorder(store_uri, experiment)

    trials = [trial("a", learning_rate=0.5), trial("b", learning_rate=1.0)]
    recorder.open(header(*trials), tiny)
    recorder.start(trials[0], {}, {})
    recorder.finish(trials[0], done(**{"val/accuracy": 0.5}), layout)
    recorder.start(trials[1], {}, {})
    recorder.finish(trials[1], done(Outcome.DIVERGED, **{"train/loss": float("nan")}), layout)
    recorder.close("FINISHED")

    parent = client.get_run(recorder._parent.id)
    table = client.load_table(parent.info.experiment_id, "results.json", [parent.info.run_id])
    assert table["trial"].tolist() == ["a", "b"]
    assert table["learning_rate"].tolist() == [0.5, 1.0]
    assert table["val/accuracy"][0] == 0.5
    assert table["val/accuracy"].isna().tolist() == [False, True]
    assert table["outcome"].tolist() == ["complete", "diverged"]
    assert table["run_id"].tolist() == [recorder.run_id(one) for one in trials]


def test_the_description_tells_how_far_the_sweep_is_while_it_runs(
    store_uri, experiment, client, tiny, trial, layout, monkeypatch
):
    monkeypatch.setattr(mlflow_recorder, "FLUSH_SECONDS", 0.05)
    monkeypatch.setattr(sweep_run, "REFRESH_SECONDS", 0.05)
    trials = [
        trial("gradient lr=1", learning_rate=1.0),
        trial("gradient lr=2", learning_rate=2.0),
        trial("gradient lr=3"),
    ]
    recorder = MlflowRecorder(store_uri, experiment)

    def told(text):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if text in (found := note(client.get_run(recorder._parent.id))):
                return found
            time.sleep(0.05)
        pytest.fail(f"{text!r} is not in {found!r}")

    recorder.open(header(*trials), tiny)
    assert "running, 0 of 3 trials done" in told("- `learning_rate`: 1, 2, 0.001")
    recorder.start(trials[0], {}, {})
    recorder.points(trials[0], block(0, 10, **{"val/accuracy": lambda s: s / 20}))
    assert "0 of 3 trials done, 1 running" in told("| 0.45 | at step 9 |")
    recorder.finish(trials[0], done(**{"val/accuracy": 0.5}), layout)
    recorder.start(trials[1], {}, {})
    recorder.finish(trials[1], done(Outcome.DIVERGED, step=3), layout)
    told("2 of 3 trials done, 0 running, 0 failed, 1 diverged")
    recorder.close("KILLED")

    last = told("killed, 2 of 3 trials done, 0 failed, 1 diverged")
    assert f"[gradient lr=1](#/experiments/{recorder._store.experiment_id}/runs/{recorder.run_id(trials[0])})" in last
    assert "python -m pipeline -m strategy=random,local" in last
    assert f"mlflow ui --backend-store-uri {store_uri}" in last
    assert f"python -m pipeline.report {recorder._parent.id} --tracking-uri {store_uri}" in last
    assert f"python -m pipeline.reproduce {recorder.run_id(trials[0])}" in last


def test_a_description_holds_no_password(trial, tiny):
    tally = Tally((trial(),), validated=True)
    reference = Reference(run_id="1", uri=redact("postgresql://ann:s3cret@host/db"), look="http://h", links={})

    text = describe(header(), tiny, "FAILED", tally, reference)

    assert "s3cret" not in text
    assert "failed, 0 of 1 trials done" in text


def test_a_sweep_that_is_stopped_says_so_and_keeps_what_there_is(store_uri, experiment, client, tiny, trial, layout):
    ended, running, waiting = trial("ended", learning_rate=1.0), trial("running"), trial("waiting")
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(header(ended, running, waiting), tiny)
    recorder.start(ended, {}, {})
    recorder.finish(ended, done(), layout)
    recorder.start(running, {}, {})
    recorder.points(running, block(0, 10, **{"train/loss": lambda s: s}))

    recorder.close("KILLED")

    assert client.get_run(recorder._parent.id).info.status == "KILLED"
    assert client.get_run(recorder.run_id(ended)).info.status == "FINISHED"
    killed = client.get_run(recorder.run_id(running))
    assert (killed.info.status, killed.data.tags["outcome"]) == ("KILLED", "killed")
    table = Path(client.download_artifacts(recorder._parent.id, "results.csv")).read_text().splitlines()
    assert [line.split(",")[:2] for line in table[1:]] == [
        ["ended", "complete"],
        ["running", "not finished"],
        ["waiting", "not finished"],
    ]


def test_the_examples_a_second_are_recorded_and_not_compared(store_uri, experiment, client, tiny, trial, layout):
    planned = trial()
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(None, tiny)
    recorder.start(planned, {}, {})
    recorder.points(planned, block(1, 11, examples=lambda s: 64 * s))
    time.sleep(0.01)
    recorder.finish(planned, done(), layout)
    recorder.close("FINISHED")

    metrics = client.get_run(recorder.run_id(planned)).data.metrics
    assert 0 < metrics["wall_clock/examples_per_second"] < 640 / 0.01
    assert set(read_run(store_uri, recorder.run_id(planned)).curves) == {"examples"}


def test_points_appear_while_the_trial_runs(store_uri, experiment, client, tiny, trial, monkeypatch):
    monkeypatch.setattr(mlflow_recorder, "FLUSH_SECONDS", 0.05)
    planned = trial()
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(None, tiny)
    recorder.start(planned, {}, {})
    recorder.points(planned, block(0, 10, loss=lambda s: s))

    deadline = time.monotonic() + 20
    found = []
    while len(found) < 10 and time.monotonic() < deadline:
        time.sleep(0.05)
        run_id = recorder.run_id(planned)
        found = client.get_metric_history(run_id, "loss") if run_id else []

    assert [m.step for m in found] == list(range(10))
    recorder.close("KILLED")
    assert client.get_run(recorder.run_id(planned)).info.status == "KILLED"


def test_a_lone_trial_has_no_parent(store_uri, experiment, client, tiny, trial, layout):
    planned = trial()
    recorder = MlflowRecorder(store_uri, experiment)

    recorder.open(None, tiny)
    recorder.start(planned, {}, {})
    recorder.finish(planned, done(), layout)
    recorder.close("FINISHED")

    run = client.get_run(recorder.run_id(planned))
    assert "mlflow.parentRunId" not in run.data.tags
    assert len(client.search_runs([run.info.experiment_id])) == 1
    assert f"runs/{run.info.run_id}" in recorder.how_to_look()


def test_a_diverged_trial_keeps_the_value_it_diverged_with(store_uri, experiment, tiny, trial, layout):
    planned = trial()
    recorder = MlflowRecorder(store_uri, experiment)

    recorder.open(None, tiny)
    recorder.start(planned, {}, {})
    recorder.points(planned, block(1, 3, loss=lambda s: [1.0, float("inf")], norm=lambda s: [1.0, float("nan")]))
    recorder.finish(planned, done(Outcome.DIVERGED, step=2), layout)
    recorder.close("FINISHED")

    recorded = read_run(store_uri, recorder.run_id(planned))
    assert (recorded.status, recorded.tags["outcome"]) == ("FINISHED", "diverged")
    assert recorded.curves["loss"].values.tolist() == [1.0, float("inf")]
    assert recorded.curves["norm"].values.tolist() == pytest.approx([1.0, float("nan")], nan_ok=True)


def test_a_failed_trial_keeps_its_points_and_its_traceback(store_uri, experiment, client, tiny, trial):
    planned, never_started = trial(), trial()
    recorder = MlflowRecorder(store_uri, experiment)

    recorder.open(header(planned, never_started), tiny)
    recorder.start(planned, {}, {})
    recorder.points(planned, block(0, 5, loss=lambda s: s))
    recorder.fail(planned, "ValueError: bad", "Traceback ...")
    recorder.fail(never_started, "lost with its worker", "")
    recorder.close("FAILED")

    recorded = read_run(store_uri, recorder.run_id(planned))
    assert (recorded.status, recorded.layout, recorded.arrays) == ("FAILED", None, {})
    assert recorded.tags["outcome.message"] == "ValueError: bad"
    assert len(recorded.curves["loss"].steps) == 5
    assert "traceback.txt" in {file.path for file in client.list_artifacts(recorded.run_id)}
    assert client.get_run(recorder.run_id(never_started)).info.status == "FAILED"


def test_a_trial_that_starts_and_reports_again_is_recorded_once(store_uri, experiment, tiny, trial, layout):
    planned = trial()
    recorder = MlflowRecorder(store_uri, experiment)

    recorder.open(None, tiny)
    for _ in range(2):
        recorder.start(planned, {}, {})
        recorder.points(planned, block(0, 5, loss=lambda s: s))
    recorder.finish(planned, done(), layout)
    recorder.close("FINISHED")

    assert read_run(store_uri, recorder.run_id(planned)).curves["loss"].values.tolist() == [0, 1, 2, 3, 4]


def test_figures_are_drawn_from_the_trials_curves(store_uri, experiment, client, tiny, trial, layout):
    planned = trial()

    def figures(drawn, result, curves, dataset):
        assert (drawn, dataset) == (planned, tiny)
        return {"loss.txt": str(curves["loss"].values.sum()).encode()}

    recorder = MlflowRecorder(store_uri, experiment, figures=figures)
    recorder.open(None, tiny)
    recorder.start(planned, {}, {})
    recorder.points(planned, block(0, 5, loss=lambda s: s))
    recorder.finish(planned, done(), layout)
    recorder.close("FINISHED")

    path = client.download_artifacts(recorder.run_id(planned), "figures/loss.txt")
    assert Path(path).read_text() == "10.0"


@pytest.mark.parametrize(("limit", "quick"), [(2, ["quick"]), (1, [])])
def test_a_sweep_draws_its_winner_and_of_the_others_what_is_quick(
    store_uri, experiment, client, tiny, trial, layout, monkeypatch, limit, quick
):
    monkeypatch.setattr(mlflow_recorder, "DRAWN_TRIALS", limit)
    trials = [trial("bad"), trial("good")]
    recorder = MlflowRecorder(
        store_uri,
        experiment,
        figures=lambda *_: {"whole": b""},
        quick_figures=lambda *_: {"quick": b""},
        sweep_figures=lambda records: {"+".join(record.standing.trial.name for record in records): b""},
    )
    recorder.open(header(*trials), tiny)
    for planned, accuracy in zip(trials, (0.25, 0.75), strict=True):
        recorder.start(planned, {}, {})
        recorder.finish(planned, done(**{"val/accuracy": accuracy}), layout)
    recorder.close("FINISHED")

    ids = [*map(recorder.run_id, trials), recorder._parent.id]
    drawn = [[Path(file.path).name for file in client.list_artifacts(run_id, "figures")] for run_id in ids]
    assert drawn == [quick, [*quick, "whole"], ["good+bad"]]


def test_a_figure_that_cannot_be_drawn_costs_nothing_else(store_uri, experiment, client, tiny, trial, layout):
    def broken(*_):
        raise ValueError("no such colour")

    planned = trial()
    recorder = MlflowRecorder(store_uri, experiment, figures=broken, quick_figures=broken, sweep_figures=broken)
    recorder.open(header(planned), tiny)
    recorder.start(planned, {}, {})
    recorder.finish(planned, done(**{"val/accuracy": 0.5}), layout)

    with pytest.raises(RecordError, match="no such colour"):
        recorder.close("FINISHED")

    assert client.get_run(recorder._parent.id).info.status == "FINISHED"
    assert "results.csv" in {file.path for file in client.list_artifacts(recorder._parent.id)}


def test_a_store_that_fails_is_told_at_the_end_and_never_before(store_uri, experiment, tiny, trial, layout):
    planned = trial()
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(None, tiny)
    recorder.start(planned, {}, {})

    def full(batches):
        raise OSError("disk full at http://ann:s3cret@host")

    recorder._store.write = full
    recorder.points(planned, block(0, 5, loss=lambda s: s))
    recorder.finish(planned, done(), layout)

    with pytest.raises(RecordError, match=r"disk full at http://\*\*\*@host"):
        recorder.close("FINISHED")


def test_a_changed_config_is_refused(store_uri, experiment, client, tiny, trial, layout):
    planned = trial()
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(None, tiny)
    recorder.start(planned, {}, {})
    recorder.finish(planned, done(), layout)
    recorder.close("FINISHED")
    run_id = recorder.run_id(planned)

    client.log_text(run_id, "learning_rate: 1\n", "config.yaml")

    with pytest.raises(RecordError, match=r"config\.yaml must be as it was recorded"):
        read_run(store_uri, run_id)


def test_a_run_that_is_not_there_or_no_trials_is_refused(store_uri, experiment, tiny):
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(header(), tiny)
    recorder.close("FINISHED")

    with pytest.raises(RecordError, match="got 'nothing'"):
        read_run(store_uri, "nothing")
    with pytest.raises(RecordError, match="not a sweep's parent run"):
        read_run(store_uri, recorder._parent.id)


def test_tags_can_be_added_to_a_run(store_uri, experiment, client, tiny):
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(header(), tiny)
    recorder.close("FINISHED")

    set_tags(store_uri, recorder._parent.id, {"verdict": "equal"})

    assert client.get_run(recorder._parent.id).data.tags["verdict"] == "equal"


def test_a_deleted_experiment_is_refused(store_uri, experiment, client, tiny):
    client.delete_experiment(client.create_experiment(experiment))

    with pytest.raises(RecordError, match=r"tracking\.experiment must be an experiment that is not deleted"):
        MlflowRecorder(store_uri, experiment).open(None, tiny)


def test_a_server_that_is_none_is_refused_within_ten_seconds(experiment, tiny):
    # A socket that accepts and never answers: the slowest way of not being a tracking server.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()

        with pytest.raises(RecordError, match=r"tracking\.uri must be a store that can be reached"):
            MlflowRecorder(f"http://127.0.0.1:{silent.getsockname()[1]}", experiment).open(None, tiny)

        assert time.monotonic() - start < 10
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


def test_importing_the_recorder_imports_no_mlflow():
    code = "import sys, pipeline.recorder.mlflow_recorder, pipeline.recorder.reading; print('mlflow' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
