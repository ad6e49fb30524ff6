"""The fast way into SQLite writes the same record as MLflow's own."""

import contextlib
import gc
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import uuid
import weakref
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.entities import Metric

from pipeline.errors import RecordError
from pipeline.record.outbox import Change
from pipeline.tracking.connection import connect, is_refusal, revisions
from pipeline.tracking.sqlite_store import TESTED_REVISIONS, SqliteStore, _obstacle, open_store
from pipeline.tracking.store import RUN_TAG, Store
from tests.pipeline.disturbed import Sweep

INF, NAN = float("inf"), float("nan")


def changes(run_id):
    """Two changes: 2100 points of three metrics with every odd value, then more of one of them."""
    values = np.random.default_rng(0).standard_normal(700).tolist()
    values[:5] = [NAN, INF, -INF, -0.0, 5e-324]
    steps = np.arange(700)
    points = [(name, np.array(values), 1000 + steps, steps) for name in "abc"]
    first = Change(params={f"p{k}": str(k) for k in range(150)}, tags={f"t{k}": "x" for k in range(120)}, points=points)
    more = ("a", np.array([7.0, NAN]), np.array([5000, 5001]), np.array([700, 701]))
    return {run_id: first}, {run_id: Change(tags={"t0": "y"}, points=[more])}


def everything(store, run_id):
    run = store.client.get_run(run_id)
    history = {name: store.client.get_metric_history(run_id, name) for name in run.data.metrics}
    points = {name: sorted((m.step, m.timestamp, repr(m.value)) for m in metrics) for name, metrics in history.items()}
    latest = {name: repr(value) for name, value in run.data.metrics.items()}
    tags = {key: value for key, value in run.data.tags.items() if key not in {"mlflow.runName", "recorder.run"}}
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
        for some in changes(run_id):
            assert way.apply(some) == []
        records.append(everything(store, run_id))

    points, latest, params, tags = records[0]
    assert records[1] == records[0]
    assert [len(points[name]) for name in "abc"] == [702, 700, 700]
    assert (latest["a"], params["p149"], tags["t0"], tags["t119"]) == ("nan", "149", "y", "x")


def test_a_file_that_is_gone_or_replaced_is_named_and_written_to_once_it_is_back(store_uri, store, plain, tmp_path):
    file, away = Path(store_uri.removeprefix("sqlite:///")), tmp_path / "away.db"
    for way in (store, plain):
        run_id = way.create_run("run", {}, 0)
        some, _ = changes(run_id)
        # given a store that a person has moved
        file.rename(away)

        # when it is written to, then its file is named, and no other is made in its place
        with pytest.raises(FileNotFoundError, match=f"the file is gone.*{file}"):
            way.apply(some)
        assert not file.exists()

        # and another that is put there, even a copy, is not waited for
        shutil.copy(away, file)
        with pytest.raises(RecordError, match=f"another file is in the place of {file}") as refused:
            way.apply(some)
        assert is_refusal(refused.value)

        away.rename(file)
        assert way.apply(some) == []


def test_writing_a_batch_twice_changes_nothing(store, plain):
    for way in (store, plain):
        run_id = store.create_run("run", {}, 0)
        way.apply(changes(run_id)[0])
        once = everything(store, run_id)

        way.apply(changes(run_id)[0])

        assert everything(store, run_id) == once


def test_of_what_went_together_only_the_bad_is_lost(store):
    run_id = store.create_run("run", {}, 0)
    first, _ = changes(run_id)

    (refused,) = store.apply({"no such run": changes(run_id)[0][run_id]} | first)

    assert "FOREIGN KEY" in str(refused)
    assert len(everything(store, run_id)[0]["a"]) == 700


def test_a_metric_whose_name_mlflow_refuses_costs_its_run_nothing_else(plain):
    run_id = plain.create_run("run", {}, 0)
    first, _ = changes(run_id)
    first[run_id].points.insert(0, ("top@5 in %", np.array([0.5]), np.array([1000]), np.array([0])))

    (refused,) = plain.apply(first)

    assert "top@5 in %" in str(refused)
    points, _, params, tags = everything(plain, run_id)
    assert {name: len(values) for name, values in points.items()} == {"a": 700, "b": 700, "c": 700}
    assert (len(params), len(tags)) == (150, 120)


def test_a_store_that_is_locked_takes_nothing_and_all_of_it_later(store, monkeypatch):
    from sqlalchemy.exc import OperationalError

    run_id = store.create_run("run", {}, 0)
    first, _ = changes(run_id)
    with monkeypatch.context() as patch:

        def locked(*_):
            raise OperationalError("INSERT", {}, Exception("database is locked"))

        patch.setattr("pipeline.tracking.sqlite_store._insert", locked)
        with pytest.raises(Exception, match="database is locked"):
            store.apply(first)
    assert everything(store, run_id) == ({}, {}, {}, {})

    assert store.apply(first) == []
    assert len(everything(store, run_id)[0]["a"]) == 700


def test_an_sqlite_store_is_written_the_fast_way(store):
    assert isinstance(store, SqliteStore)


def told(store, run_id, name):
    """All that MLflow tells of a run, its own id and the folder of its artifacts but for the id left out."""
    run = store.client.get_run(run_id).to_dictionary()
    files = [file.path for file in store.client.list_artifacts(run_id, "config")]
    content = Path(store.client.download_artifacts(run_id, "config/config.yaml")).read_text()
    text = json.dumps(run, sort_keys=True, default=str).replace(name, "NAME").replace(run_id, "ID")
    return json.loads(text), files, content


def made(way):
    """Make a run, and return its id and all that is told of it."""
    run = f"run-{uuid.uuid4().hex}"
    for _ in range(2):  # doing it twice has no further effect
        tags, files = (
            {"mlflow.user": "ann", "key": "1"},
            {"config/config.yaml": b"steps: 1", "config/overrides.yaml": b""},
        )
        change = Change(name="a name", start=12, tags=tags, data=("digits", "d" * 64), files=files, end=("FAILED", 34))
        assert way.apply({run: change}) == []
    return way.ids[run], told(way, way.ids[run], run)


def test_a_run_is_the_same_whichever_way_it_is_made(store, plain):
    runs = [made(way)[1] for way in (plain, store, store)]

    assert runs[0][0]["info"]["status"] == "FAILED"
    assert runs[0][0]["inputs"]["dataset_inputs"][0]["dataset"]["digest"] == "d" * 36
    assert runs[0][1:] == (["config/config.yaml", "config/overrides.yaml"], "steps: 1")
    assert runs[1] == runs[0]
    assert runs[2] == runs[0]


def test_a_run_that_has_been_deleted_is_not_ended_and_costs_the_others_nothing(store):
    gone, kept = (store.create_run("run", {}, 0) for _ in range(2))
    store.client.delete_run(gone)

    refused = store.apply({gone: Change(end=("FINISHED", 1)), kept: Change(end=("FINISHED", 1))})

    assert ["active" in str(error) for error in refused] == [True]
    assert store.client.get_run(kept).info.status == "FINISHED"


def test_a_run_that_was_deleted_before_a_sweep_is_resumed_is_refused_and_costs_the_others_nothing(store_uri):
    now, name = open_store(store_uri, "odd / name %2F.."), f"run-{uuid.uuid4().hex}"
    gone, kept = (now.create_run("run", tags, 0) for tags in ({RUN_TAG: name}, {}))
    now.client.delete_run(gone)

    refused = now.apply({name: Change(tags={"a": "b"}), kept: Change(end=("FINISHED", 1))})

    assert [str(error) for error in refused] == [
        f"the store must hold the run {name}, which was created before; it does not"
    ]
    assert now.client.get_run(kept).info.status == "FINISHED"


def test_what_is_refused_does_not_stay_in_memory_with_its_error(store, plain):
    # given points of a run that is not there, and of one that was deleted, which MLflow's own API gets as objects
    values, gone = np.ones(3), plain.create_run("run", {}, 0)
    plain.client.delete_run(gone)
    alive = weakref.ref(values)

    refused = store.apply({"no such run": Change(points=[("a", values, np.arange(3), np.arange(3))])})
    refused += plain.apply({gone: Change(points=[("of the deleted", np.ones(3), np.arange(3), np.arange(3))])})

    del values
    gc.collect()
    assert len(refused) == 2
    assert alive() is None
    assert [one for one in gc.get_objects() if type(one) is Metric and one.key == "of the deleted"] == []


def test_a_sweeps_run_that_has_been_deleted_costs_its_trials_nothing(store, plain):
    for way in (store, plain):
        parent, kept = (way.create_run("run", {}, 0) for _ in range(2))
        way.client.delete_run(parent)

        refused = way.apply({kept: Change(end=("FINISHED", 1)), parent: Change(entries=7)})

        assert all("active" in str(error) for error in refused)
        assert way.client.get_run(kept).info.status == "FINISHED"


def test_no_run_is_made_in_an_experiment_that_has_been_deleted(store_uri):
    store = open_store(store_uri, "to be deleted")
    first, _ = made(store)
    store.client.delete_experiment(store.experiment_id)

    new = "run-" + "1" * 32
    for others in ({}, {first: Change(end=("FINISHED", 1))}):
        refused = store.apply({**others, new: Change(name="the second", start=0, data=("digits", "d"))})

        assert "active" in str(refused[0])
        assert new in str(refused[-1])


WRITING = """
import json, sys
from tests.pipeline.tracking.test_sqlite_store import write
print(json.dumps(write(sys.argv[1])))
"""


def write(uri):
    """Write two runs to a store; return the kind of the store and all that is told of them."""
    store, runs = open_store(uri, "an experiment"), []
    for _ in range(2):
        run_id, told = made(store)
        for some in changes(run_id):
            store.apply(some)
        runs.append([told, everything(store, run_id)])
    return type(store).__name__, runs


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


def run_python(folder, path, *arguments):
    """Run Python in a new ``folder``, with the MLflow that it finds in ``path`` first."""
    folder.mkdir()
    end = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, Path(__file__).parents[3]]))},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert end.returncode == 0, end.stderr
    return end


def written(text, folder):
    """Return what `write` has returned for a store in ``folder``, as JSON has it."""
    return json.loads(text.replace(str(folder), "FOLDER"))


@pytest.mark.slow
def test_tables_of_a_revision_that_was_not_tested_are_written_by_mlflow_itself_and_alike(
    later_mlflow, empty_store, tmp_path, caplog
):
    now, then = tmp_path / "now", tmp_path / "then"
    now.mkdir()
    uri = f"sqlite:///{shutil.copy(empty_store, now / 'mlflow.db')}"
    kind, runs = written(json.dumps(write(uri)), now)
    later = run_python(then, [later_mlflow], "-c", WRITING, f"sqlite:///{then}/mlflow.db")
    later_kind, later_runs = written(later.stdout, then)

    assert kind == "SqliteStore"
    assert "MLflow's own API" not in caplog.text
    assert later_kind == "Store"
    notice = "its tables have revision feedfeedfeed, which was not tested"
    told = [line for line in later.stderr.splitlines() if "MLflow's own API" in line]
    assert told == [f"the store is written to by MLflow's own API, which takes longer: {notice}"]
    assert later_runs == runs


def held(folder):
    """Return what the store of a whole sweep holds, by trial, the sweep itself under no name, and its models."""
    found = {}
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as store:
        for run, status, place in store.execute("SELECT run_uuid, status, artifact_uri FROM runs").fetchall():
            files = Path(place.removeprefix("file://"))
            tags = dict(store.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run,)).fetchall())
            points = "SELECT key, step, value, is_nan FROM metrics WHERE run_uuid = ?"
            found[tags.get("key", "")] = (
                status,
                sorted(store.execute(points, (run,)).fetchall()),
                sorted(store.execute("SELECT key, value FROM params WHERE run_uuid = ?", (run,)).fetchall()),
                sorted(tags),
                sorted(str(file.relative_to(files)) for file in files.rglob("*") if file.is_file()),
                store.execute("SELECT count(*) FROM inputs WHERE destination_id = ?", (run,)).fetchone(),
            )
        versions = store.execute("SELECT count(*) FROM model_versions").fetchone()
    return found, versions


@pytest.mark.slow
def test_a_whole_sweep_by_mlflow_itself_holds_what_one_by_the_tables_does(tmp_path, empty_store):
    untested = json.dumps({"pipeline.tracking.sqlite_store.TESTED_REVISIONS": []})
    fast = Sweep(tmp_path / "fast", empty_store, pause=0, TRAINS="1")
    slow = Sweep(tmp_path / "slow", empty_store, pause=0, TRAINS="1", CONSTANTS=untested)

    for sweep, own in ((fast, False), (slow, True)):
        code, out, err = sweep.run("engine=inprocess", "strategy=random,gradient", "seed=1", "steps=40")
        assert code == 0, err
        assert ("MLflow's own API" in out + err) == own

    found, versions = held(fast.folder)
    assert len(found) == 1 + 4
    assert held(slow.folder) == (found, versions)
    assert versions == (1,)


def test_an_mlflow_that_is_built_in_another_way_writes_itself(plain, monkeypatch):
    monkeypatch.delattr(type(plain.client._tracking_client), "store")

    assert "store" in _obstacle(plain.client)


def test_sessions_that_are_opened_in_another_way_are_not_used(plain, monkeypatch):
    monkeypatch.setattr(plain.client._tracking_client.store, "ManagedSessionMaker", lambda: None)

    assert "read_only" in _obstacle(plain.client)


def test_the_tables_of_this_mlflow_were_tested():
    assert revisions()[1] in TESTED_REVISIONS
