"""The fast way into SQLite writes the same record as MLflow's own log_batch."""

import numpy as np
import pytest

from pipeline.recorder.batches import Batch, fastest, write_by_log_batch, write_to_sqlite
from pipeline.recorder.store import Store

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
    return Store(store_uri, "batches")


def ways(store):
    inner = store.client._tracking_client.store
    return lambda b: write_by_log_batch(store.client, b), lambda b: write_to_sqlite(inner, b)


def test_both_ways_write_the_same_record(store):
    records = []
    for write in ways(store):
        run_id = store.create_run("run", {}, 0)
        for batch in batches(run_id):
            write(batch)
        records.append(everything(store, run_id))

    points, latest, params, tags = records[0]
    assert records[1] == records[0]
    assert [len(points[name]) for name in "abc"] == [702, 700, 700]
    assert (latest["a"], params["p149"], tags["t0"], tags["t119"]) == ("nan", "149", "y", "x")


def test_writing_a_batch_twice_changes_nothing(store):
    for write in ways(store):
        run_id = store.create_run("run", {}, 0)
        first, _ = batches(run_id)
        write(first)
        once = everything(store, run_id)

        write(first)

        assert everything(store, run_id) == once


def test_a_batch_that_fails_leaves_nothing_behind(store):
    from mlflow.exceptions import MlflowException

    run_id = store.create_run("run", {}, 0)
    first, _ = batches(run_id)

    with pytest.raises(MlflowException, match="FOREIGN KEY"):
        store.write(first | {"no such run": first[run_id]})

    assert everything(store, run_id) == ({}, {}, {}, {})


def test_an_sqlite_store_is_written_the_fast_way_and_any_other_by_log_batch(store, monkeypatch):
    calls = []
    monkeypatch.setattr(store.client, "log_batch", lambda *args, **values: calls.append(args))
    batch, _ = batches(store.create_run("run", {}, 0))

    fastest(store.client)(batch)
    assert calls == []

    monkeypatch.setattr(store.client._tracking_client.store, "db_type", "postgresql")
    fastest(store.client)(batch)
    assert len(calls) == 3
