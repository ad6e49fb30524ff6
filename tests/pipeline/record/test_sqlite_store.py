"""The fast way into SQLite writes the same record as MLflow's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest

from pipeline.record.batches import Batch
from pipeline.record.revision import revisions
from pipeline.record.sqlite_store import TESTED_REVISIONS, SqliteStore, _obstacle, open_store
from pipeline.record.store import Store, connect

INF, NAN = float("inf"), float("nan")


def batches(run_id):
    """Two batches: 2100 points of three metrics with every odd value, then more of one of them."""
    values = np.random.default_rng(0).standard_normal(700).tolist()
    values[:5] = [NAN, INF, -INF, -0.0, 5e-324]
    points = [(name, value, 1000 + step, step) for name in "abc" for step, value in enumerate(values)]
    first = Batch(params={f"p{k}": str(k) for k in range(150)}, tags={f"t{k}": "x" for k in range(120)}, points=points)
    second = Batch(tags={"t0": "y"}, points=[("a", 7.0, 5000, 700), ("a", NAN, 5001, 701)])
    return {run_id: first}, {run_id: second}


def everything(store, run_id):
    run = store.client.get_run(run_id)
    history = {name: store.client.get_metric_history(run_id, name) for name in run.data.metrics}
    points = {name: sorted((m.step, m.timestamp, repr(m.value)) for m in metrics) for name, metrics in history.items()}
    latest = {name: repr(value) for name, value in run.data.metrics.items()}
    tags = {key: value for key, value in run.data.tags.items() if key != "mlflow.runName"}
    return points, latest, run.data.params, tags


@pytest.fixture(scope="module")
def store(store_uri):
    return open_store(store_uri, "odd / name %2F..")


@pytest.fixture(scope="module")
def plain(store_uri):
    """The same store, written to as any other kind is."""
    return Store(store_uri, "odd / name %2F..", connect(store_uri, create=True))


def test_both_ways_write_the_same_batches(store, plain):
    records = []
    for way in (store, plain):
        run_id = store.create_run("run", {}, 0)
        for batch in batches(run_id):
            way.write(batch)
        records.append(everything(store, run_id))

    points, latest, params, tags = records[0]
    assert records[1] == records[0]
    assert [len(points[name]) for name in "abc"] == [702, 700, 700]
    assert (latest["a"], params["p149"], tags["t0"], tags["t119"]) == ("nan", "149", "y", "x")


def test_writing_a_batch_twice_changes_nothing(store, plain):
    for way in (store, plain):
        run_id = store.create_run("run", {}, 0)
        first, _ = batches(run_id)
        way.write(first)
        once = everything(store, run_id)

        way.write(first)

        assert everything(store, run_id) == once


def test_a_batch_that_fails_leaves_nothing_behind(store):
    from mlflow.exceptions import MlflowException

    run_id = store.create_run("run", {}, 0)
    first, _ = batches(run_id)

    with pytest.raises(MlflowException, match="FOREIGN KEY"):
        store.write(first | {"no such run": first[run_id]})

    assert everything(store, run_id) == ({}, {}, {}, {})


def test_an_sqlite_store_is_written_the_fast_way(store):
    assert isinstance(store, SqliteStore)


def told(store, run_id):
    """All that MLflow tells of a run, its own id and the folder of its artifacts but for the id left out."""
    run = store.client.get_run(run_id).to_dictionary()
    files = [file.path for file in store.client.list_artifacts(run_id, "config")]
    content = Path(store.client.download_artifacts(run_id, "config/config.yaml")).read_text()
    text = json.dumps(run, sort_keys=True, default=str).replace(run_id, "ID")
    return json.loads(text), files, content


def made(way):
    """Make a run, and return its id and all that is told of it."""
    run_id = way.create_run("a name", {"mlflow.user": "ann", "key": "1"}, 12, run="run-1")
    for _ in range(2):  # doing it twice has no further effect
        way.add_dataset(run_id, "digits", "d" * 64)
        way.attach(run_id, {"config/config.yaml": b"steps: 1", "config/overrides.yaml": b""})
        way.end_run(run_id, "FAILED", 34)
    return run_id, told(way, run_id)


def test_a_run_is_the_same_whichever_way_it_is_made(store, plain):
    runs = [made(way)[1] for way in (plain, store, store)]

    assert runs[0][0]["info"]["status"] == "FAILED"
    assert runs[0][0]["inputs"]["dataset_inputs"][0]["dataset"]["digest"] == "d" * 36
    assert runs[0][1:] == (["config/config.yaml", "config/overrides.yaml"], "steps: 1")
    assert runs[1] == runs[0]
    assert runs[2] == runs[0]


def test_a_run_that_has_been_deleted_is_not_ended(store):
    from mlflow.exceptions import MlflowException

    run_id = store.create_run("run", {}, 0)
    store.client.delete_run(run_id)

    with pytest.raises(MlflowException, match="active"):
        store.end_run(run_id, "FINISHED", 1)


def test_no_run_is_made_in_an_experiment_that_has_been_deleted(store_uri):
    from mlflow.exceptions import MlflowException

    store = open_store(store_uri, "to be deleted")
    store.create_run("the first", {}, 0)
    store.client.delete_experiment(store.experiment_id)

    with pytest.raises(MlflowException, match="active"):
        store.create_run("the second", {}, 0)


WRITING = """
import json, sys
from tests.pipeline.record.test_sqlite_store import batches, everything, made
from pipeline.record.sqlite_store import open_store
store = open_store(sys.argv[1], "an experiment")
runs = []
for _ in range(2):
    run_id, told = made(store)
    for batch in batches(run_id):
        store.write(batch)
    runs.append([told, everything(store, run_id)])
print(json.dumps([type(store).__name__, runs]))
"""

MIGRATION = """
from alembic import op
from sqlalchemy import Column, String

revision = "feedfeedfeed"
down_revision = "{before}"


def upgrade():
    op.add_column("runs", Column("mood", String(10), server_default="calm", nullable=False))
"""


@pytest.fixture
def later_mlflow(tmp_path):
    """A folder with an MLflow like the installed one, whose tables are of a later revision: with a column more."""
    here, made_of = Path(mlflow.__file__).parent, tmp_path / "later" / "mlflow"
    for inner in ("", "store", "store/db_migrations", "store/db_migrations/versions"):
        (made_of / inner).mkdir(parents=True)
        for file in (here / inner).iterdir():
            if file.name not in {"store", "db_migrations", "versions"} or file.is_file():
                (made_of / inner / file.name).symlink_to(file)
    migration = MIGRATION.format(before=revisions()[1])
    (made_of / "store/db_migrations/versions/feedfeedfeed_mood.py").write_text(migration)
    return made_of.parent


def written(folder, *path):
    """What a process writes to a new store in ``folder`` with the MLflow that it finds in ``path`` first, and says."""
    folder.mkdir()
    end = subprocess.run(
        [sys.executable, "-c", WRITING, f"sqlite:///{folder}/mlflow.db"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, Path(__file__).parents[3]]))},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert end.returncode == 0, end.stderr
    kind, runs = json.loads(end.stdout.replace(str(folder), "FOLDER"))
    return kind, runs, [line for line in end.stderr.splitlines() if "MLflow's own API" in line]


@pytest.mark.slow
def test_tables_of_a_revision_that_was_not_tested_are_written_by_mlflow_itself_and_alike(later_mlflow, tmp_path):
    kind, runs, notice = written(tmp_path / "now")
    later_kind, later_runs, later_notice = written(tmp_path / "then", later_mlflow)

    assert (kind, notice) == ("SqliteStore", [])
    assert later_kind == "Store"
    notice = "its tables, of revision feedfeedfeed, are of another version than was tested"
    assert later_notice == [f"the store is written to by MLflow's own API, which takes longer: {notice}"]
    assert later_runs == runs


@pytest.mark.parametrize("lacks", ["_get_artifact_repo", "store"])
def test_an_mlflow_that_is_built_in_another_way_writes_itself(lacks, plain, monkeypatch):
    monkeypatch.delattr(type(plain.client._tracking_client), lacks)

    assert lacks in _obstacle(plain.client)


def test_sessions_that_are_opened_in_another_way_are_not_used(plain, monkeypatch):
    monkeypatch.setattr(plain.client._tracking_client.store, "ManagedSessionMaker", lambda: None)

    assert "read_only" in _obstacle(plain.client)


def test_the_tables_of_this_mlflow_were_tested():
    assert revisions()[1] in TESTED_REVISIONS
