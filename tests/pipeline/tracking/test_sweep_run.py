"""A sweep's parent run has a table and a description, however the sweep ends."""

import dataclasses
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.errors import RecordError
from pipeline.record.protocol import Provenance
from pipeline.reports import Finished, Progressed, Started
from pipeline.results.criterion import Criterion
from pipeline.results.page import VIEW_TAG
from pipeline.tracking.mlflow_recorder import MlflowRecorder
from pipeline.tracking.unfinished import find_past
from tasks.events import Outcome
from tests.pipeline.record.recording import PROVENANCE, block, done, header, note, parent_of


@pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes:DeprecationWarning")
def test_the_result_table_is_one_that_mlflow_loads(store_uri, experiment, client, tiny, trial, layout, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_uri)
    recorder = MlflowRecorder(store_uri, experiment)

    trials = [trial("a", learning_rate=0.5), trial("b", learning_rate=1.0)]
    recorder.open(header(*trials), tiny, Provenance())
    recorder.record(Started(trial=trials[0]))
    recorder.record(Finished(trial=trials[0], result=done(**{"val/accuracy": 0.5}), layout=layout))
    recorder.record(Started(trial=trials[1]))
    recorder.record(
        Finished(trial=trials[1], result=done(Outcome.DIVERGED, **{"train/loss": float("nan")}), layout=layout)
    )
    recorder.close("FINISHED")

    parent = client.get_run(parent_of(recorder))
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
    for name in ("mlflow_recorder.FLUSH_EVERY", "mlflow_recorder.REFRESH_EVERY", "exporter.EXPORT_EVERY"):
        monkeypatch.setattr(f"pipeline.tracking.{name}", 0.05)
    trials = [
        trial("gradient lr=1", learning_rate=1.0),
        trial("gradient lr=2", learning_rate=2.0),
        trial("gradient lr=3"),
    ]
    recorder = MlflowRecorder(store_uri, experiment)

    def told(text):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if text in (found := note(client.get_run(parent_of(recorder)))):
                return found
            time.sleep(0.05)
        pytest.fail(f"{text!r} is not in {found!r}")

    recorder.open(header(*trials), tiny, PROVENANCE)
    assert "running, 0 of 3 trials done" in told("- `learning_rate`: 0.001, 1, 2")
    recorder.record(Started(trial=trials[0]))
    recorder.record(Progressed(trial=trials[0], curve=block(0, 10, **{"val/accuracy": lambda s: s / 20})))
    assert "0 of 3 trials done, 1 under way" in told("| 0.45 | at step 9 |")
    recorder.record(Finished(trial=trials[0], result=done(**{"val/accuracy": 0.5}), layout=layout))
    recorder.record(Started(trial=trials[1]))
    recorder.record(Finished(trial=trials[1], result=done(Outcome.DIVERGED, step=3), layout=layout))
    told("2 of 3 trials done, 0 under way, 0 failed, 1 diverged")
    recorder.close("KILLED")

    last = told("killed, 2 of 3 trials done, 0 failed, 1 diverged")
    assert f"[gradient lr=1](#/experiments/{recorder._store.experiment_id}/runs/{recorder.run_id(trials[0])})" in last
    assert "python -m pipeline -m strategy=random,local" in last
    assert f"mlflow ui --backend-store-uri {store_uri}" in last
    assert f"python -m pipeline.report {parent_of(recorder)} --tracking-uri {store_uri}" in last
    assert f"python -m pipeline.reproduce {recorder.run_id(trials[0])}" in last


def test_a_sweep_that_is_stopped_says_so_and_keeps_what_there_is(store_uri, experiment, client, tiny, trial, layout):
    names = ("ended", "running", "waiting")
    ended, running, waiting = (trial(name, learning_rate=k + 1.0) for k, name in enumerate(names))
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(header(ended, running, waiting), tiny, Provenance())
    recorder.record(Started(trial=ended))
    recorder.record(Finished(trial=ended, result=done(), layout=layout))
    recorder.record(Started(trial=running))
    recorder.record(Progressed(trial=running, curve=block(0, 10, **{"train/loss": lambda s: s})))

    recorder.close("KILLED")

    assert client.get_run(parent_of(recorder)).info.status == "KILLED"
    assert client.get_run(recorder.run_id(ended)).info.status == "FINISHED"
    killed = client.get_run(recorder.run_id(running))
    assert (killed.info.status, killed.data.tags["outcome"]) == ("KILLED", "killed")
    table = Path(client.download_artifacts(parent_of(recorder), "results.csv")).read_text().splitlines()
    assert [line.split(",")[:2] for line in table[1:]] == [
        ["ended", "complete"],
        ["running", "not finished"],
        ["waiting", "not finished"],
    ]


@pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes:DeprecationWarning")
def test_repeats_are_one_row_the_parent_has_their_interval_and_the_winner_is_of_the_best_setting(
    store_uri, experiment, client, tiny, trial, layout, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_uri)
    # given a setting with the best mean, and another with the best single repeat
    values = {("steady", 1.0): (0.7, 0.72, 0.71), ("lucky", 2.0): (0.9, 0.3, 0.4)}
    planned = [
        (trial(f"{name} {seed}", learning_rate=rate, seed=seed), value)
        for (name, rate), accuracies in values.items()
        for seed, value in enumerate(accuracies)
    ]
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(header(*(one for one, _ in planned)), tiny, Provenance())
    for one, value in planned:
        recorder.record(Started(trial=one))
        recorder.record(Finished(trial=one, result=done(**{"val/accuracy": value}), layout=layout))
    recorder.close("FINISHED")
    winner = recorder._runs.parent.best.winner

    parent = client.get_run(parent_of(recorder))
    assert (winner.trial.name, parent.data.tags["best.setting"]) == ("steady 1", "gradient lr=1")
    assert "steady 1: the best of 3 repeats of gradient lr=1" in parent.data.tags["best.trial"]
    assert parent.data.metrics["best/val/accuracy"] == pytest.approx(0.71)
    assert parent.data.metrics["best/val/accuracy/low"] < 0.71 < parent.data.metrics["best/val/accuracy/high"]
    assert (parent.data.metrics["trials/done"], parent.data.metrics["trials/diverged"]) == (6, 0)
    assert (parent.data.params["swept.learning_rate"], parent.data.params["loss"]) == ("1, 2", "svm")
    assert "[gradient lr=1]" in note(parent)
    assert "gradient lr=1 and gradient lr=2 are not distinguishable with these repeats" in note(parent)
    table = client.load_table(parent.info.experiment_id, "results.json", [parent.info.run_id])
    assert table["setting"].tolist() == ["gradient lr=1", "gradient lr=2"]
    assert table["val/accuracy"].tolist() == pytest.approx([0.71, 1.6 / 3])
    trials = Path(client.download_artifacts(parent.info.run_id, "trials.csv")).read_text().splitlines()
    assert len(trials) == 7
    run = client.get_run(recorder.run_id(winner.trial))
    assert (run.data.tags["setting"], len(run.data.tags["setting.key"])) == ("gradient lr=1", 16)


@pytest.mark.parametrize(
    ("criterion", "winner"),
    [
        (Criterion(), "a"),
        (Criterion(metric="val/loss", mode="min"), "b"),
        (Criterion(over=("data_seed",)), "a"),
        (Criterion(metric="val/loss", mode="min", over=("data_seed",)), "b"),
    ],
)
def test_a_sweep_that_is_resumed_under_another_ranking_has_the_winner_of_that(
    criterion, winner, store_uri, experiment, client, tiny, trial, layout, tmp_path
):
    # given two repeats of a setting, one of which has the better accuracy and the other the better loss
    trials = [trial("a", seed=1), trial("b", seed=2)]
    recorder = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    recorder.open(header(*trials), tiny, Provenance())
    for planned, accuracy, loss in zip(trials, (0.75, 0.25), (2.0, 1.0), strict=True):
        result = done(**{"val/accuracy": accuracy, "val/loss": loss})
        recorder.record(Finished(trial=planned, result=result, layout=layout))
    recorder.close("KILLED")

    # when the sweep goes on under a ranking that may be another
    past = find_past(store_uri, experiment, "a sweep")
    again = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    again.open(dataclasses.replace(header(*trials), criterion=criterion), tiny, Provenance(), past)
    again.close("FINISHED")

    found = again._runs.parent.best.winner
    assert found.trial.name == winner
    assert "weights" in found.result.arrays
    assert client.get_run(parent_of(again)).data.tags.items() >= criterion.tags().items()


def test_the_view_of_a_search_that_is_resumed_has_columns_for_what_its_trials_have_swept(
    store_uri, experiment, client, tiny, trial, layout, tmp_path
):
    # given a search, of which the first trial is known before it starts
    first, second = (trial(learning_rate=rate) for rate in (0.5, 1.0))
    recorder = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    recorder.open(header(first), tiny, Provenance())
    for one in (first, second):
        recorder.record(Finished(trial=one, result=done(), layout=layout))
    recorder.close("KILLED")

    again = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    again.open(header(first), tiny, Provenance(), find_past(store_uri, experiment, "a sweep"))
    again.close("FINISHED")

    tags = client.get_experiment(again._store.experiment_id).tags
    assert "params.`learning_rate`" in tags[f"{VIEW_TAG}{parent_of(again)}"]


def test_a_sweep_whose_run_cannot_be_created_leaves_no_log(store_uri, experiment, tiny, tmp_path, monkeypatch):
    def away(*_, **__):
        raise OSError("no answer")

    monkeypatch.setattr(MlflowClient, "create_run", away)

    with pytest.raises(RecordError, match="no answer"):
        MlflowRecorder(store_uri, experiment, folder=tmp_path).open(header(), tiny, Provenance())

    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def killed(store_uri, experiment, tiny, trial, layout, tmp_path):
    """A sweep that was killed when a trial had ended and another had started, and what is known of it."""
    ended, started = trial("ended", learning_rate=1.0), trial("started", learning_rate=2.0)
    recorder = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    recorder.open(header(ended, started), tiny, Provenance())
    recorder.record(Finished(trial=ended, result=done(**{"val/accuracy": 0.5}), layout=layout))
    recorder.record(Started(trial=started))
    recorder.close("KILLED")
    return recorder, (ended, started)


def test_a_resume_without_a_log_that_cannot_read_a_trial_leaves_all_as_it_was(
    killed, store_uri, experiment, client, tiny, tmp_path
):
    recorder, trials = killed
    (log,) = tmp_path.glob("record-*.log")
    log.unlink()
    run_id = recorder.run_id(trials[0])
    outcome = client.get_run(run_id).data.tags["outcome"]
    client.set_tag(run_id, "outcome", "nonsense")
    before = client.get_run(parent_of(recorder)).to_dictionary()

    def resume():
        past = find_past(store_uri, experiment, "a sweep")
        again = MlflowRecorder(store_uri, experiment, folder=tmp_path)
        return again, again.open(header(*trials), tiny, Provenance(), past)

    with pytest.raises(RecordError, match="nonsense"):
        resume()

    assert list(tmp_path.glob("record-*.log")) == []
    assert client.get_run(parent_of(recorder)).to_dictionary() == before
    # and it can be resumed once the trial can be read
    client.set_tag(run_id, "outcome", outcome)
    again, known = resume()
    again.close("FINISHED")
    assert known.ended.keys() == {trials[0].key}


@pytest.mark.parametrize("logged", [True, False])
def test_a_resume_reads_the_runs_of_the_trials_once_and_writes_into_those_that_are_there(
    logged, killed, store_uri, experiment, client, tiny, layout, tmp_path, monkeypatch
):
    recorder, trials = killed
    if not logged:
        (log,) = tmp_path.glob("record-*.log")
        log.unlink()
    search, asked = MlflowClient.search_runs, []

    def counting(self, experiments, wanted="", **options):
        asked.append(wanted)
        return search(self, experiments, wanted, **options)

    monkeypatch.setattr(MlflowClient, "search_runs", counting)

    past = find_past(store_uri, experiment, "a sweep")
    again = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    again.open(header(*trials), tiny, Provenance(), past)
    again.record(Finished(trial=trials[1], result=done(**{"val/accuracy": 0.75}), layout=layout))
    again.close("FINISHED")

    assert [wanted.split("`")[1] for wanted in asked] == ["sweep.key", "mlflow.parentRunId"]
    runs = search(client, [client.get_experiment_by_name(experiment).experiment_id], f"tags.key = '{trials[0].key}'")
    assert [run.info.run_id for run in runs] == [recorder.run_id(trials[0])]
    assert f"/runs/{recorder.run_id(trials[0])})" in note(client.get_run(parent_of(recorder)))
