"""Values that no one should use, and someone does: long ones, other alphabets, paths in names, a clock set back."""

import itertools
import shutil

import numpy as np
import pytest
import yaml

from pipeline.record.protocol import Provenance
from pipeline.reports import Finished, Progressed, Started
from pipeline.tracking import mlflow_recorder
from pipeline.tracking.reader import open_reader
from tasks.events import Curve, Outcome, Result
from tests.pipeline.commands import run
from tests.stores import stored

NAME = "ü/../../名 |`x` <b>é$(id) 'q' " + "long " * 1300
EXPERIMENT = "наука/../../a b:é"
SMALL = ("dataset=npz", "engine=inprocess", "tracking.register_model=false", "steps=20", "batch_size=32", "seed=1,2")
FOLDER = "out ü/[x] $y"


@pytest.mark.slow
def test_long_values_and_odd_names_are_recorded_as_they_are_or_shortened_with_the_whole_beside_it(
    tmp_path, empty_store
):
    # given images at a path of thousands of characters, and names with paths, quotes and other alphabets in them
    here = tmp_path / "deep" / "er"
    here.mkdir(parents=True)
    images, labels = np.random.default_rng(0).integers(0, 256, (60, 4), dtype=np.uint8), np.arange(60) % 3
    np.savez(here / "ü 名.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    root = "./" * 1900 + "ü 名.npz"
    values = {"tracking.experiment": EXPERIMENT, "sweep.name": NAME, "dataset.root": root, "hydra.sweep.dir": FOLDER}
    overrides = [f"{key}='{value}'" for key, value in ((k, v.replace("'", "\\'")) for k, v in values.items())]

    # when a sweep is run
    shutil.copy(empty_store, here)
    done = run(["-m", "pipeline", "-m", *SMALL, *overrides], here)

    # then all of it is in the record
    assert done.returncode == 0, done.stderr[-2000:]
    assert {status for (status,) in stored(here, "SELECT status FROM runs")} == {"FINISHED"}
    assert (EXPERIMENT,) in stored(here, "SELECT name FROM experiments")
    ((name,),) = stored(here, "SELECT name FROM runs WHERE name NOT LIKE 'gradient%'")
    assert name.startswith(NAME[:200])
    assert {value for (value,) in stored(here, "SELECT value FROM params WHERE key = 'dataset.root'")} == {root}
    trials = stored(here, "SELECT run_uuid FROM runs WHERE name LIKE 'gradient%'")
    assert len(trials) == 2
    for (run_id,) in trials:
        recorded = open_reader(f"sqlite:///{here}/mlflow.db").trial(run_id)
        assert recorded.config["dataset"]["root"] == str(here / "ü 名.npz")
        assert any(root in override for override in recorded.overrides)
    # and nothing was written elsewhere than where the command was given
    assert {path.name for path in here.iterdir()} == {"mlflow.db", "mlruns", "out ü", "ü 名.npz"}
    assert [path.name for path in tmp_path.rglob("*") if here not in (path, *path.parents)] == ["deep"]
    assert {"0", "1", "multirun.yaml"} <= {path.name for path in (here / FOLDER).iterdir()}
    assert yaml.safe_load((here / FOLDER / "1" / ".hydra" / "config.yaml").read_text())["dataset"]["root"] == root


def test_a_clock_that_steps_back_costs_no_point(store_uri, experiment, tiny, trial, layout, monkeypatch):
    # given a clock that goes back an hour now and then
    ticks = itertools.count()
    monkeypatch.setattr(
        mlflow_recorder, "_now", lambda: 1_800_000_000_000 + (tick := next(ticks)) * 1000 - tick % 3 * 3_600_000
    )
    planned = trial("against the clock")
    recorder = mlflow_recorder.MlflowRecorder(store_uri, experiment)
    recorder.open(None, tiny, Provenance())

    # when points are recorded, some of them twice
    recorder.record(Started(trial=planned))
    for first in (0, 5, 5, 10, 15):
        steps = np.arange(first, first + 5)
        recorder.record(
            Progressed(trial=planned, curve=Curve(trial=0, steps=steps, metrics={"train/loss": 1.0 / (steps + 1)}))
        )
    result = Result(trial=0, outcome=Outcome.COMPLETE, step=19, metrics={"train/loss": 0.05})
    recorder.record(Finished(trial=planned, result=result, layout=layout))
    recorder.close("FINISHED")

    # then each is there once, in the order of its step, and the run has ended
    recorded = open_reader(store_uri).trial(recorder.run_id(planned))
    assert recorded.status == "FINISHED"
    assert recorded.curves["train/loss"].steps.tolist() == list(range(20))
    np.testing.assert_array_equal(recorded.curves["train/loss"].values, 1.0 / np.arange(1, 21))
