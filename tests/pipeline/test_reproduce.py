"""A trial or a sweep is run again from its record alone, and the verdict says how equal it is."""

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from threadpoolctl import threadpool_info

from pipeline.config.schema import parse
from pipeline.engine.inprocess import InProcess
from pipeline.engine.protocol import run as compute
from pipeline.figures.drawings import Figures
from pipeline.plan.plan import Group, Point, make_plan
from pipeline.record.protocol import Provenance, SweepHeader
from pipeline.reports import Checkpointed, Failed, Started
from pipeline.reproduce import command as reproduce
from pipeline.reproduce import rerun as rerunning
from pipeline.tracking.connection import connect
from pipeline.tracking.mlflow_recorder import MlflowRecorder
from pipeline.tracking.reader import open_reader
from tasks.datasets.digits import Digits
from tasks.events import Outcome
from tests.pipeline.commands import Command

ROOT = Path(__file__).parents[2]
SHORT = {"steps": 40, "trial": {"record_every": 5, "evaluate_every": 20}, "dataset": {"name": "digits"}}
RATES = (1e-4, 1e-3, 1e30)
EXPERIMENT = "to be reproduced"


def record(store_uri, *configs, ended):
    """Record a sweep that is killed when the first trials, a group, have ended; return its runs, the parent's first."""
    dataset = Digits().load()
    points = [
        Point(index=k, overrides=(f"learning_rate={config['learning_rate']:g}",), config=parse({**config, **SHORT}))
        for k, config in enumerate(configs)
    ]
    trials = make_plan(points, dataset).trials
    recorder = MlflowRecorder(store_uri, EXPERIMENT)
    recorder.open(
        SweepHeader(name="rates", overrides=(), trials=trials),
        dataset,
        Provenance(tags={"version.numpy": "1.0"}),
    )
    engine = InProcess(threads=1, device="cpu")
    for report in compute(engine, [Group(trials=trials[:ended])], dataset):
        assert not isinstance(report, Failed), report.traceback
        if not isinstance(report, Checkpointed):
            recorder.record(report)
    for trial in trials[ended:]:
        recorder.record(Started(trial=trial))
    recorder.close("KILLED")
    ids = [recorder.run_id(trial) for trial in trials]
    parent = connect(store_uri, create=False).get_run(ids[0]).data.tags["mlflow.parentRunId"]
    return [parent, *ids]


@pytest.fixture(scope="module")
def recorded(store_uri):
    """Record a group of three trials, the last diverging, and one that does not end; return their runs."""
    return record(store_uri, *({"learning_rate": rate} for rate in (*RATES, 0.5)), ended=3)


@pytest.fixture
def undrawn(monkeypatch):
    """Draw no figures: nobody looks at them."""
    monkeypatch.setattr(rerunning, "all_figures", Figures)


def run(store_uri, *arguments):
    return reproduce.main([*arguments, "--tracking-uri", store_uri])


def again(store_uri, run_id):
    """Return the newest run that reproduces another."""
    client = connect(store_uri, create=False)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    return client.search_runs([experiment], f"tags.reproduces='{run_id}'")[0]


def files(store_uri, run_id, folder=""):
    return {file.path for file in connect(store_uri, create=False).list_artifacts(run_id, folder)}


def test_a_trial_out_of_a_fused_group_is_bit_for_bit_equal_from_any_folder(
    store_uri, recorded, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    assert run(store_uri, recorded[2]) == 0

    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "verdict: bit for bit equal"
    assert "version.numpy" in printed
    old, new = (
        open_reader(store_uri).trial(run_id) for run_id in (recorded[2], again(store_uri, recorded[2]).info.run_id)
    )
    assert new.tags["verdict"] == "bit for bit equal"
    assert recorded[2] in new.tags["mlflow.note.content"]
    assert "mlflow.parentRunId" not in new.tags
    assert len(old.curves["train/loss"].steps) == 8
    assert np.array_equal(old.arrays["weights"], new.arrays["weights"])
    assert {"figures/loss.png", "figures/templates.png"} <= files(store_uri, new.run_id, "figures")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("model", "arrays"), [("mlp", {"hidden1", "scores"}), ("convnet", {"convolution1", "scores"})])
def test_a_network_out_of_a_fused_group_is_bit_for_bit_equal(store_uri, capsys, model, arrays):
    row = {"name": model} | ({"channels": [4]} if model == "convnet" else {})
    _, first, _ = record(store_uri, *({"learning_rate": rate, "model": row} for rate in (1e-3, 1e-2)), ended=2)

    assert run(store_uri, first) == 0

    assert capsys.readouterr().out.splitlines()[-1] == "verdict: bit for bit equal"
    new = again(store_uri, first).info.run_id
    assert open_reader(store_uri).trial(new).arrays.keys() == arrays
    assert "figures/filters.png" in files(store_uri, new, "figures")


@pytest.mark.usefixtures("undrawn")
def test_other_threads_change_no_bit(store_uri, recorded, capsys, monkeypatch):
    monkeypatch.setattr(rerunning, "cpu_count", lambda: 3)

    assert run(store_uri, recorded[0]) == 0

    assert "verdict: bit for bit equal; of 3 trials 3 bit for bit equal" in capsys.readouterr().out
    layout = open_reader(store_uri).trial(again(store_uri, recorded[1]).info.run_id).layout
    assert (layout.width, layout.threads) == (3, 3)


@pytest.mark.slow
@pytest.mark.skipif(
    platform.machine() != "x86_64" or "openblas" not in {library["internal_api"] for library in threadpool_info()},
    reason="no other kernels to compute with: OpenBLAS on x86-64 has several",
)
def test_other_kernels_give_other_bits_within_the_tolerance(store_uri, recorded, tmp_path):
    command = [sys.executable, "-m", "pipeline.reproduce", recorded[2], "--tracking-uri", store_uri]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_CORETYPE": "Nehalem", "COLUMNS": "200"}

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "verdict: equal within 1e-05 relative; largest difference" in done.stdout
    assert "OPENBLAS_CORETYPE" in done.stdout
    old, new = (
        open_reader(store_uri).trial(run_id) for run_id in (recorded[2], again(store_uri, recorded[2]).info.run_id)
    )
    assert "Nehalem" in new.layout.blas
    assert not np.array_equal(old.arrays["weights"], new.arrays["weights"])
    np.testing.assert_allclose(new.arrays["weights"], old.arrays["weights"], rtol=0, atol=1e-5)


def test_a_signal_ends_it_with_its_number_and_its_run_as_killed(store_uri, recorded, tmp_path):
    client = connect(store_uri, create=False)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    arguments = ["-m", "pipeline.reproduce", recorded[2], "--set", "steps=10000000", "--tracking-uri", store_uri]
    with Command(arguments, tmp_path) as command:
        while not (running := client.search_runs([experiment], "status = 'RUNNING'")):
            assert command.poll() is None, command.communicate()
            time.sleep(0.05)
        command.send_signal(signal.SIGTERM)
        _, err = command.communicate(timeout=60)

    assert command.returncode == 128 + signal.SIGTERM
    assert err == "stopped: SIGTERM\n"
    assert [client.get_run(run.info.run_id).info.status for run in running] == ["KILLED"]


@pytest.mark.usefixtures("undrawn")
def test_a_diverged_trial_diverges_again_at_the_same_step(store_uri, recorded, capsys):
    assert open_reader(store_uri).trial(recorded[3]).tags["outcome"] == "diverged"

    assert run(store_uri, recorded[3]) == 0
    assert "verdict: bit for bit equal" in capsys.readouterr().out


def test_a_sweep_is_reproduced_trial_by_trial_from_its_parent_run(store_uri, recorded, capsys):
    assert run(store_uri, recorded[0]) == 0

    printed = capsys.readouterr().out
    told = "bit for bit equal; of 3 trials 3 bit for bit equal; 1 had not ended by themselves and were left out"
    assert printed.splitlines()[-1] == f"verdict: {told}"
    parent = again(store_uri, recorded[0])
    assert (parent.info.run_name, parent.info.status) == ("rates again", "FINISHED")
    assert parent.data.tags["verdict"] == "bit for bit equal"
    assert parent.data.tags["mlflow.note.content"].startswith("Reproduces [rates](")
    assert {"results.csv", "provenance", "figures"} <= files(store_uri, parent.info.run_id)
    children = open_reader(store_uri).sweep(parent.info.run_id).runs
    assert [child.trial for child in children] == [
        run.trial for run in open_reader(store_uri).sweep(recorded[0]).runs if run.outcome != "killed"
    ]
    for child in children:
        new = open_reader(store_uri).trial(child.run_id)
        old = open_reader(store_uri).trial(new.tags["reproduces"])
        assert old.run_id in recorded
        assert old.arrays.keys() == new.arrays.keys() == ({"weights"} if old.tags["outcome"] == "complete" else set())
        assert [old.arrays[name].tobytes() for name in old.arrays] == [array.tobytes() for array in new.arrays.values()]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("which", [0, 2])
def test_a_difference_exits_with_one_and_says_where(store_uri, recorded, capsys, monkeypatch, which):
    real = rerunning.changed

    def shifted(config, changes):
        new = real(config, changes)
        return new | {"learning_rate": 2e-3} if new["learning_rate"] == RATES[1] else new

    monkeypatch.setattr(rerunning, "changed", shifted)

    assert run(store_uri, recorded[which]) == 1
    printed = capsys.readouterr().out
    assert "verdict: different; largest difference" in printed
    assert which or "of 3 trials 2 bit for bit equal, 1 different" in printed
    assert "config.learning_rate" in printed


@pytest.mark.usefixtures("undrawn")
def test_a_trial_that_fails_now_is_different(store_uri, recorded, capsys, monkeypatch):
    monkeypatch.setattr("tasks.studies.train.Train.run", lambda *_, **__: iter(()))

    assert run(store_uri, recorded[2]) == 1
    assert "complete and failed" in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_a_change_that_was_asked_for_is_shown_and_is_no_failure(store_uri, recorded, capsys):
    assert run(store_uri, recorded[2], "--set", "learning_rate=2e-3", "--set", "trial.record_every=4") == 0

    printed = capsys.readouterr().out
    assert "verdict: different (expected: --set changed the config)" in printed
    new = open_reader(store_uri).trial(again(store_uri, recorded[2]).info.run_id)
    assert (new.config["learning_rate"], len(new.curves["train/loss"].steps)) == (2e-3, 10)
    assert new.name.endswith("with learning_rate=2e-3, trial.record_every=4")


@pytest.mark.usefixtures("undrawn")
def test_trials_that_a_change_makes_one_are_run_once(store_uri, recorded, capsys):
    assert run(store_uri, recorded[0], "--set", "learning_rate=1e-3") == 0

    printed = capsys.readouterr().out
    assert "different (expected: --set changed the config)" in printed
    assert "of 3 trials 1 bit for bit equal, 2 different" in printed
    assert len(open_reader(store_uri).sweep(again(store_uri, recorded[0]).info.run_id).runs) == 1


@pytest.mark.parametrize("which", [0, 2])
@pytest.mark.parametrize(
    "changes",
    [["learning_rat=1"], ["learning_rate"], ["learning_rate=0"], ["loss=nothing"], ["steps=[1"], ["trial=3"]],
)
def test_a_change_that_breaks_a_rule_is_refused(store_uri, recorded, capsys, changes, which):
    options = [option for change in changes for option in ("--set", change)]

    assert run(store_uri, recorded[which], *options) == 2

    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error


def test_a_config_that_was_changed_after_recording_is_refused(store_uri, recorded, capsys):
    client = connect(store_uri, create=False)
    text = Path(client.download_artifacts(recorded[1], "config.yaml")).read_text()
    client.log_text(recorded[1], yaml.safe_dump(yaml.safe_load(text) | {"learning_rate": 0.5}), "config.yaml")
    try:
        for which in (recorded[1], recorded[0]):
            assert run(store_uri, which) == 2
            assert "config.yaml must be as it was recorded" in capsys.readouterr().err
    finally:
        client.log_text(recorded[1], text, "config.yaml")


def test_a_row_of_a_package_that_is_gone_is_told_with_the_package(store_uri, recorded, capsys):
    client = connect(store_uri, create=False)
    client.set_tag(recorded[1], "sources.gone-sweeps", "0" * 64)
    try:
        assert run(store_uri, recorded[1], "--set", "loss=gone") == 2
        assert "got 'gone' (recorded with gone-sweeps, not installed here)\n" in capsys.readouterr().err
    finally:
        client.delete_tag(recorded[1], "sources.gone-sweeps")


def test_a_run_that_is_not_there_or_never_ended_is_refused(store_uri, recorded, capsys):
    assert run(store_uri, "nothing") == 2
    assert "got 'nothing'" in capsys.readouterr().err

    assert run(store_uri, recorded[4]) == 2
    assert "must have ended by itself" in capsys.readouterr().err


def test_data_that_can_no_longer_be_read_are_one_error(store_uri, recorded, capsys, monkeypatch):
    monkeypatch.setattr("pipeline.reproduce.rerun._load", lambda _: Path("/proc/1/task/none").read_bytes())

    assert run(store_uri, recorded[1]) == 2
    assert capsys.readouterr().err == "error: [Errno 2] No such file or directory: '/proc/1/task/none'\n"


def test_a_trial_that_a_change_makes_a_duplicate_of_one_that_went_further_is_run_as_far(trial):
    def old(outcome, step):
        return SimpleNamespace(run_id="old", tags={"outcome": outcome.value, "outcome.step": str(step)})

    one, check = trial(), trial(task={"name": "gradient_check"})
    whole, stopped, sooner = old(Outcome.COMPLETE, 100), old(Outcome.STOPPED, 50), old(Outcome.STOPPED, 10)

    assert rerunning._ends([one, one], [whole, stopped], [True, True]) == {one.key: None}
    assert rerunning._ends([one, one], [stopped, sooner], [True, True]) == {one.key: 50}
    assert rerunning._ends([check], [stopped], [True]) == {check.key: None}
    assert rerunning._ends([one, one], [stopped, whole], [False, False]) == {one.key: None}
