"""A trial is run again from its record alone, and the verdict says how equal it is."""

import numpy as np
import pytest
import yaml

from pipeline import reproduce
from pipeline.engine.inprocess import InProcess
from pipeline.engine.protocol import Failed, Finished, Progressed, Started
from pipeline.plan import Group
from pipeline.recorder.mlflow_recorder import MlflowRecorder
from pipeline.recorder.reading import read_run
from pipeline.recorder.store import connect
from tasks.datasets.digits import Digits
from tasks.errors import ConfigError


@pytest.fixture
def recorded(store_uri, experiment, trial):
    """Record a fused group of three trials, the last of which diverges, and return their runs' ids."""
    short = {"steps": 40, "trial": {"record_every": 5, "evaluate_every": 20}, "dataset": {"name": "digits"}}
    trials = tuple(trial(f"rate {rate:g}", learning_rate=rate, **short) for rate in (1e-4, 1e-3, 1e30))
    recorder = MlflowRecorder(store_uri, experiment)
    dataset = Digits().load()
    recorder.open(None, dataset)
    engine = InProcess(threads=1, device="cpu", timeout=None)
    for report in engine.run([Group(trials=trials, width=8)], dataset):
        match report:
            case Started():
                recorder.start(report.trial, {"version.numpy": "1.0"}, {})
            case Progressed():
                recorder.points(report.trial, report.curve)
            case Finished():
                recorder.finish(report.trial, report.result, report.layout)
            case Failed():
                pytest.fail(report.traceback)
    recorder.close("FINISHED")
    return [recorder.run_id(one) for one in trials]


def run(store_uri, *arguments):
    return reproduce.main([*arguments, "--tracking-uri", store_uri])


def again(store_uri, experiment, run_id):
    """Return the newest run that reproduces another."""
    client = connect(store_uri, create=False)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id], f"tags.reproduces='{run_id}'")
    return read_run(store_uri, found[0].info.run_id)


def test_a_trial_out_of_a_fused_group_is_bit_for_bit_equal_from_any_folder(
    store_uri, experiment, recorded, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    assert run(store_uri, recorded[1]) == 0

    printed = capsys.readouterr().out
    assert "verdict: bit for bit equal" in printed
    assert "version.numpy" in printed
    new = again(store_uri, experiment, recorded[1])
    assert new.tags["verdict"] == "bit for bit equal"
    assert recorded[1] in new.tags["mlflow.note.content"]
    old = read_run(store_uri, recorded[1])
    assert len(old.curves["train/loss"].steps) == 8
    assert np.array_equal(old.arrays["weights"], new.arrays["weights"])
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_trial_diverges_again_at_the_same_step(store_uri, recorded, capsys):
    assert read_run(store_uri, recorded[2]).tags["outcome"] == "diverged"

    assert run(store_uri, recorded[2]) == 0
    assert "verdict: bit for bit equal" in capsys.readouterr().out


def test_a_difference_exits_with_one_and_says_where(store_uri, recorded, capsys, monkeypatch):
    real = reproduce.changed

    def shifted(config, changes):
        return real(config, changes) | {"learning_rate": 2e-3}

    monkeypatch.setattr(reproduce, "changed", shifted)

    assert run(store_uri, recorded[1]) == 1
    printed = capsys.readouterr().out
    assert "verdict: different; largest difference" in printed
    assert "config.learning_rate" in printed


def test_a_change_that_was_asked_for_is_shown_and_is_no_failure(store_uri, experiment, recorded, capsys):
    assert run(store_uri, recorded[1], "--set", "learning_rate=2e-3", "--set", "trial.record_every=4") == 0

    printed = capsys.readouterr().out
    assert "verdict: different (as was asked for by --set)" in printed
    new = again(store_uri, experiment, recorded[1])
    assert (new.config["learning_rate"], len(new.curves["train/loss"].steps)) == (2e-3, 10)


@pytest.mark.parametrize(
    "changes",
    [["learning_rat=1"], ["learning_rate"], ["learning_rate=0"], ["loss=nothing"], ["steps=[1"], ["trial=3"]],
)
def test_a_change_that_breaks_a_rule_is_refused(store_uri, recorded, capsys, changes):
    options = [option for change in changes for option in ("--set", change)]

    assert run(store_uri, recorded[1], *options) == 2

    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error


def test_a_config_that_was_changed_after_recording_is_refused(store_uri, recorded, capsys):
    client = connect(store_uri, create=False)
    config = dict(read_run(store_uri, recorded[0]).config)
    client.log_text(recorded[0], yaml.safe_dump(config | {"learning_rate": 0.5}), "config.yaml")

    assert run(store_uri, recorded[0]) == 2
    assert "config.yaml must be as it was recorded" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_refused(store_uri, capsys):
    assert run(store_uri, "nothing") == 2
    assert "got 'nothing'" in capsys.readouterr().err


def test_changing_a_config_leaves_the_recorded_one_alone():
    config = {"loss": {"name": "svm", "margin": 1.0}}

    assert reproduce.changed(config, ["loss.margin=2.5"]) == {"loss": {"name": "svm", "margin": 2.5}}
    assert config == {"loss": {"name": "svm", "margin": 1.0}}


def test_a_section_cannot_be_replaced_whole():
    with pytest.raises(ConfigError, match="--set"):
        reproduce.changed({"trial": {"record_every": 1}}, ["trial=3"])
