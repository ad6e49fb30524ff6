"""A record is read back as it was written, or refused."""

import contextlib
import dataclasses
import re
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from mlflow import MlflowClient

from pipeline.errors import RecordError
from pipeline.record.outbox import PACK_ABOVE
from pipeline.record.protocol import Provenance
from pipeline.reports import Finished, Started
from pipeline.results.criterion import Criterion
from pipeline.tracking.connection import WRITE_VARIABLES, http_variables
from pipeline.tracking.mlflow_recorder import MlflowRecorder
from pipeline.tracking.reader import open_reader
from pipeline.tracking.unfinished import find_past, latest_sweeps
from tests.pipeline.record.recording import done, header, note, parent_of


@pytest.fixture
def run_id(store_uri, experiment, tiny, trial, layout):
    """Return the run of a lone trial."""
    planned, recorder = trial(), MlflowRecorder(store_uri, experiment)
    recorder.open(None, tiny, Provenance())
    recorder.record(Started(trial=planned))
    recorder.record(Finished(trial=planned, result=done(), layout=layout))
    recorder.close("FINISHED")
    return recorder.run_id(planned)


def test_a_changed_config_is_refused(run_id, store_uri, client):
    client.log_text(run_id, "learning_rate: 1\n", "config.yaml")

    with pytest.raises(RecordError, match=r"config\.yaml must be as it was recorded"):
        open_reader(store_uri).trial(run_id)


def test_what_depends_on_the_clock_in_an_older_record_is_not_compared(run_id, store_uri, client):
    client.log_metric(run_id, "wall_clock/examples_per_second", 1000)

    assert open_reader(store_uri).trial(run_id).curves == {}


@pytest.mark.parametrize("name", ["config.yaml", "overrides.yaml", "arrays.npz"])
def test_a_damaged_file_of_a_trial_is_refused_by_its_name(name, run_id, store_uri, client):
    file = Path(client.download_artifacts(run_id, name))
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"\xff["):
        file.write_bytes(damaged)
        client.log_artifact(run_id, file)

        with pytest.raises(RecordError, match=rf"{re.escape(name)} must be as it was recorded"):
            open_reader(store_uri).trial(run_id)


@pytest.mark.parametrize("name", ["config.yaml", "overrides.yaml"])
def test_a_trial_that_lacks_a_file_from_which_it_is_run_is_refused(name, run_id, store_uri, client):
    Path(url2pathname(urlsplit(client.get_run(run_id).info.artifact_uri).path), name).unlink()

    with pytest.raises(RecordError, match=rf"the run must hold {re.escape(name)}"):
        open_reader(store_uri).trial(run_id)


def test_a_run_that_is_not_there_or_no_trials_is_refused(store_uri, experiment, tiny):
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(header(), tiny, Provenance())
    recorder.close("FINISHED")

    with pytest.raises(RecordError, match="got 'nothing'"):
        open_reader(store_uri).trial("nothing")
    with pytest.raises(RecordError, match="not a sweep's parent run"):
        open_reader(store_uri).trial(parent_of(recorder))


@pytest.mark.slow
@pytest.mark.parametrize("call", ["get_run", "get_metric_history", "search_runs", "list_artifacts", "set_tag"])
def test_a_store_that_ceases_to_answer_is_an_error_of_the_record(
    call, proxy, experiment, tiny, trial, layout, monkeypatch
):
    # given a sweep on a server, that is gone when it gets a certain request
    planned, recorder = trial(), MlflowRecorder(proxy.uri, experiment)
    recorder.open(header(planned), tiny, Provenance())
    recorder.record(Finished(trial=planned, result=done(loss=0.5), layout=layout))
    recorder.close("FINISHED")
    reader, run_id, sweep = open_reader(proxy.uri), recorder.run_id(planned), parent_of(recorder)
    answer = getattr(reader._client, call)

    def gone(*arguments, **options):
        proxy.fault = "503"
        return answer(*arguments, **options)

    monkeypatch.setattr(reader._client, call, gone)

    def read():
        reader.trial(run_id)
        reader.sweep(sweep)
        reader.annotate(sweep, {"verdict": "equal"}, "It is equal.")

    # when all is read
    with http_variables(proxy.uri, WRITE_VARIABLES), pytest.raises(RecordError) as error:
        read()

    # then the error says so, and no run is said to be missing
    assert "the run must be" not in str(error.value)
    assert "503" in str(error.value)


@pytest.mark.parametrize(("call", "table"), [("get_experiment_by_name", "experiments"), ("search_runs", "runs")])
@pytest.mark.parametrize("look", [lambda *of: find_past(*of, "a sweep"), lambda *of: [*latest_sweeps(*of)]])
def test_a_store_that_ceases_to_answer_while_a_sweep_is_looked_for_is_an_error_of_the_record(
    call, table, look, empty_store, tmp_path, tiny, monkeypatch
):
    uri, experiment = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'mlflow.db')}", "sweep"
    recorder = MlflowRecorder(uri, experiment, folder=tmp_path)
    recorder.open(header(), tiny, Provenance())
    recorder.close("KILLED")
    answer = getattr(MlflowClient, call)

    def gone(*arguments, **options):
        with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
            store.execute(f"ALTER TABLE {table} RENAME TO away")
        return answer(*arguments, **options)

    monkeypatch.setattr(MlflowClient, call, gone)

    with pytest.raises(RecordError, match=r"tracking\.uri must be a store that can be reached"):
        look(uri, experiment)


def test_tags_and_a_note_can_be_added_to_a_run(store_uri, experiment, client, tiny):
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(header(), tiny, Provenance())
    recorder.close("FINISHED")
    before = note(client.get_run(parent_of(recorder)))

    open_reader(store_uri).annotate(parent_of(recorder), {"verdict": "equal"}, "It is equal.")

    run = client.get_run(parent_of(recorder))
    assert run.data.tags["verdict"] == "equal"
    assert before.startswith("**strategies on tiny**")
    assert note(run) == f"It is equal.\n\n{before.strip()}"


def test_trials_of_a_large_sweep_have_no_files_and_are_read_back_whole(
    store_uri, experiment, client, tiny, trial, layout
):
    trials = [trial("one", learning_rate=0.5), trial("other", learning_rate=0.25)]
    waiting = [trial(f"waiting {k}") for k in range(PACK_ABOVE)]
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(header(*trials, *waiting), tiny, Provenance())
    for planned in trials:
        recorder.record(Started(trial=planned))
        result = done(**{"val/accuracy": planned.trial.learning_rate})
        weights = result.arrays["weights"] * planned.trial.learning_rate
        recorder.record(
            Finished(trial=planned, result=dataclasses.replace(result, arrays={"weights": weights}), layout=layout)
        )
    recorder.close("FINISHED")

    for planned in trials:
        run_id = recorder.run_id(planned)
        assert client.list_artifacts(run_id) == []
        read = open_reader(store_uri).trial(run_id)
        assert read.config["learning_rate"] == planned.trial.learning_rate
        assert read.overrides == planned.overrides
        assert read.layout == layout
        weights = done().arrays["weights"] * planned.trial.learning_rate
        assert read.arrays["weights"].tobytes() == weights.tobytes()
        assert "complete at step 10" in read.tags["trial.log"]
    packs = client.list_artifacts(parent_of(recorder), "arrays")
    assert len(packs) in {1, 2}


def test_a_trial_that_was_running_when_its_sweep_was_killed_is_read_as_what_it_came_to(
    store_uri, experiment, client, tiny, trial, layout
):
    # given a sweep with two runs of a trial, of which the one that was killed was ahead, and one of another
    planned, other = trial(learning_rate=0.5), trial(learning_rate=0.25)
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(header(planned, other), tiny, Provenance())
    for one in (planned, other):
        recorder.record(Started(trial=one))
        recorder.record(Finished(trial=one, result=done(**{"val/accuracy": one.trial.learning_rate}), layout=layout))
    recorder.close("FINISHED")
    tags = client.get_run(recorder.run_id(planned)).data.tags
    killed = client.create_run(recorder._store.experiment_id, tags={**tags, "outcome": "killed"}).info.run_id
    client.log_metric(killed, "val/accuracy", 0.75)
    client.set_terminated(killed, "KILLED")

    sweep = open_reader(store_uri).sweep(parent_of(recorder))

    assert [run.run_id for run in sweep.runs] == [recorder.run_id(planned), recorder.run_id(other)]
    assert [len(setting.repeats) for setting in sweep.settings] == [1, 1]
    assert sweep.settings[0].score == 0.5


def test_trials_and_settings_with_equal_results_stand_in_the_order_of_the_sweep(
    store_uri, experiment, tiny, trial, layout
):
    # given two settings with the same mean, of which the first has the luckier repeat, by names and by scores last
    values = {2.0: (0.5, 0.5), 1.0: (0.25, 0.75), 3.0: (0.5, 0.5)}
    every = [trial(f"{rate}", learning_rate=rate, seed=seed) for rate in values for seed in (0, 1)]
    trials = [dataclasses.replace(one, index=index) for index, one in enumerate(every)]
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(header(*trials), tiny, Provenance())
    for one, value in reversed([*zip(trials, (value for two in values.values() for value in two), strict=True)]):
        recorder.record(Started(trial=one))
        recorder.record(Finished(trial=one, result=done(**{"val/accuracy": value}), layout=layout))
    recorder.close("FINISHED")

    sweep = open_reader(store_uri).sweep(parent_of(recorder))

    assert [run.trial for run in sweep.runs] == ["1.0", "2.0", "2.0", "3.0", "3.0", "1.0"]
    assert [setting.score for setting in sweep.settings] == [0.5, 0.5, 0.5]
    assert sweep.best.run_id == recorder.run_id(trials[0])


def test_repeats_that_differ_only_in_a_key_of_the_group_that_they_vary_are_read_as_repeats_of_one_setting(
    store_uri, experiment, tiny, trial, layout
):
    trials = [trial(loss={"name": "svm", "margin": margin}) for margin in (1.0, 2.0)]
    criterion = Criterion(over=("loss",))
    head = dataclasses.replace(header(*trials), criterion=criterion, tags=criterion.tags())
    recorder = MlflowRecorder(store_uri, experiment)
    recorder.open(head, tiny, Provenance())
    for one in trials:
        recorder.record(Started(trial=one))
        recorder.record(Finished(trial=one, result=done(**{"val/accuracy": one.trial.loss.margin / 4}), layout=layout))
    recorder.close("FINISHED")

    sweep = open_reader(store_uri).sweep(parent_of(recorder))

    (setting,) = sweep.settings
    assert setting.summary("val/accuracy").count == 2
