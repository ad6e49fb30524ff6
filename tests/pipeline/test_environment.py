"""MLflow's variables count where the config says nothing, and a store that it refuses is told of before any trial."""

import os
import subprocess
import sys

import pytest

from pipeline.config.environment import default_uri, tracking_defaults
from pipeline.tracking.connection import connect
from pipeline.tracking.sqlite_store import open_store
from tests.pipeline.commands import run
from tests.pipeline.secret import SECRET
from tests.pipeline.session import session

TRIAL = ("-m", "pipeline", "engine=inprocess", "steps=2", "dataset=synthetic")


def test_without_the_variables_the_schema_counts(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", " ")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_ID", raising=False)

    assert tracking_defaults() == {}
    assert default_uri() == "sqlite:///mlflow.db"


def test_the_id_of_an_experiment_is_refused_unless_its_name_is_given(tmp_path):
    named = ("tracking.experiment=mine", "sweep.dry_run=true")

    refused = run(TRIAL, tmp_path, MLFLOW_EXPERIMENT_ID="1")
    taken = [run([*TRIAL, *named], tmp_path, MLFLOW_EXPERIMENT_ID="1")]
    taken += [run([*TRIAL, named[1]], tmp_path, MLFLOW_EXPERIMENT_ID="1", MLFLOW_EXPERIMENT_NAME="mine")]

    assert refused.returncode == 2
    assert "tracking.experiment must be the name of an experiment (MLFLOW_EXPERIMENT_ID is not read)" in refused.stderr
    assert [one.returncode for one in taken] == [0, 0]


def test_a_password_stays_in_its_variable(tmp_path):
    uri = f"http://ann:{SECRET}@127.0.0.1:1"

    shown = run(["-m", "pipeline", "--cfg", "job"], tmp_path, MLFLOW_TRACKING_URI=uri)
    refused = run(TRIAL, tmp_path, MLFLOW_TRACKING_URI=uri)

    assert "uri: ${oc.env:MLFLOW_TRACKING_URI}" in shown.stdout
    assert refused.returncode == 2
    assert "got 'http://***@127.0.0.1:1'" in refused.stderr
    files = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert SECRET not in shown.stdout + refused.stdout + refused.stderr + files


@pytest.mark.slow
def test_the_variables_say_where_the_record_is_kept_and_read(store_uri, tmp_path):
    variables = {"MLFLOW_TRACKING_URI": store_uri, "MLFLOW_EXPERIMENT_NAME": "of the variable"}

    sweep = ("-m", "seed=0,1", "tracking.register_model=false")
    done = run([*TRIAL[:2], *sweep, *TRIAL[2:]], tmp_path, **variables)

    assert done.returncode == 0, done.stderr
    assert f"mlflow ui --backend-store-uri {store_uri}\n" in done.stdout
    client = connect(store_uri, create=False)
    experiment = client.get_experiment_by_name("of the variable").experiment_id
    (parent,) = client.search_runs([experiment], "tags.`sweep.key` != ''")
    for command in ("pipeline.report", "pipeline.reproduce"):
        again = run(["-m", command, parent.info.run_id], tmp_path, **variables)
        assert again.returncode == 0, again.stderr
    assert f"mlflow ui --backend-store-uri {store_uri}\n" in again.stdout
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.slow
def test_the_config_comes_before_the_variables(store_uri, tmp_path):
    given = [f"tracking.uri={store_uri}", "tracking.experiment=given"]

    done = run([*TRIAL, *given], tmp_path, MLFLOW_TRACKING_URI="http://127.0.0.1:1", MLFLOW_EXPERIMENT_NAME="other")

    assert done.returncode == 0, done.stderr
    assert connect(store_uri, create=False).get_experiment_by_name("given") is not None


@pytest.mark.slow
def test_a_store_that_mlflow_refuses_is_told_before_the_shortest_trial(tmp_path):
    uris = ["./mlruns", "file:///nowhere/mlruns", "sqlite://mlflow.db", "foo://bar", "databricks"]

    ends = session(tmp_path, *([*TRIAL[2:], f"tracking.uri='{uri}'"] for uri in uris))

    for uri, (code, err, out) in zip(uris, ends, strict=True):
        assert code == 2
        assert err.splitlines()[-1].startswith(f"error: tracking.uri must be a store that can be reached, got '{uri}'")
        assert "trial" not in out


@pytest.mark.slow
def test_an_experiment_that_was_deleted_is_told_before_the_shortest_trial(store_uri, tmp_path):
    store = open_store(store_uri, "a deleted one")
    store.client.delete_experiment(store.experiment_id)

    done = run([*TRIAL, f"tracking.uri={store_uri}", "tracking.experiment='a deleted one'"], tmp_path)

    assert done.returncode == 2
    assert "tracking.experiment must be an experiment that is not deleted" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize(("set_by_the_user", "off"), [({}, "True"), ({"MLFLOW_DISABLE_TELEMETRY": "false"}, "False")])
def test_mlflow_reports_nothing_unless_the_user_says_so(set_by_the_user, off, monkeypatch):
    from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY

    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_DISABLE_TELEMETRY"}
    ask = "import os, pipeline.cli.app; print(os.environ['MLFLOW_DISABLE_TELEMETRY'])"

    done = subprocess.run(
        [sys.executable, "-c", ask], env=kept | set_by_the_user, capture_output=True, text=True, check=True
    )

    # as MLflow reads it, here, where it has been imported
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", done.stdout.strip())
    assert str(MLFLOW_DISABLE_TELEMETRY.get()) == off


def test_a_deleted_experiment_of_a_server_is_refused_before_anything_starts(server, experiment, tmp_path):
    uri = f"http://127.0.0.1:{server}"
    client = connect(uri, create=False)
    client.delete_experiment(client.create_experiment(experiment))
    sweep = ["-m", "steps=1,2", "engine=inprocess", f"tracking.uri={uri}", f"tracking.experiment={experiment}"]

    ((code, err, out),) = session(tmp_path, sweep)

    assert code == 2
    assert err.startswith("error: tracking.experiment must be an experiment that is not deleted")
    assert out == ""
    assert list(tmp_path.iterdir()) == []
