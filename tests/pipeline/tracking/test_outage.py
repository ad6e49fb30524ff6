"""A tracking server that goes away, comes back or never does: nothing is lost, nothing is written twice."""

import contextlib
import shutil
import sqlite3
import time
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from pipeline.backfill.backfill import backfill
from pipeline.errors import RecordError
from pipeline.figures.drawings import Figures
from pipeline.record.outbox import Change
from pipeline.record.protocol import Provenance
from pipeline.reports import Finished, Progressed, Retried, Started
from pipeline.tracking import exporter, mlflow_recorder
from pipeline.tracking.connection import connect
from pipeline.tracking.mlflow_recorder import MlflowRecorder
from pipeline.tracking.sqlite_store import SqliteStore, open_store
from pipeline.tracking.unfinished import find_past, latest_sweeps
from tests.pipeline.record.recording import PROVENANCE, block, done, header

pytestmark = pytest.mark.slow

VOLATILE = {
    "mlflow.parentRunId",
    "recorder.run",
    "mlflow.note.content",
    "winner.run_id",
    "winner.model",
    "key",
    "log",
    "log.entries",
}

RUN = f"run-{0:032x}"

PATIENCE = 60.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(mlflow_recorder, "FLUSH_EVERY", 0.1)
    times = {"EXPORT_EVERY": 0.1, "RETRY_AFTER": 0.05, "LONGEST_PAUSE": 0.05, "PATIENCE": PATIENCE}
    for name, seconds in times.items():
        monkeypatch.setattr(exporter, name, seconds)


@contextlib.contextmanager
def impatient():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "PATIENCE", 0.5)
        yield


@pytest.fixture
def record(tiny, trial, layout, tmp_path):
    """Record a sweep of three trials, and do things in between: at the start, in the middle and before the end."""

    def draw(planned, result, series, *some):
        return {"loss.png": series["train/loss"].values.tobytes()}

    def make(uri, experiment, *, opened=lambda: None, begun=lambda: None, ended=lambda: None, **options):
        trials = [trial(name, learning_rate=rate) for name, rate in (("a", 0.5), ("b", 1.0), ("c", 2.0))]
        recorder = MlflowRecorder(
            uri,
            experiment,
            figures=Figures(
                trial=draw,
                quick=draw,
                sweep=[lambda records: {"all.png": b"".join(r.curves["train/loss"].values.tobytes() for r in records)}],
            ),
            **({"folder": tmp_path, "register_model": True} | options),
        )
        recorder.open(header(*trials), tiny, PROVENANCE)
        opened()
        for number, planned in enumerate(trials):
            recorder.record(Started(trial=planned))
            for start in range(0, 200, 50):
                recorder.record(
                    Progressed(trial=planned, curve=block(start, start + 50, **{"train/loss": lambda s: 1 / (s + 3)}))
                )
                if (number, start) == (1, 50):
                    begun()
            if number == 1:
                recorder.record(Retried(trials=(planned,), attempt=2, step=0, parts=1, error="lost with its worker"))
            recorder.record(
                Finished(trial=planned, result=done(step=199, **{"val/accuracy": number / 4}), layout=layout)
            )
        ended()
        recorder.close("FINISHED")
        return recorder

    return make


@pytest.fixture
def found(server):
    """Return what a store holds of an experiment: its runs by name, without what differs between two sweeps."""

    def files(client, run_id, path=None):
        for file in client.list_artifacts(run_id, path):
            yield from files(client, run_id, file.path) if file.is_dir else [(file.path, file.file_size)]

    def look(experiment, uri=f"http://127.0.0.1:{server}"):
        client = connect(uri, create=False)
        ids = [client.get_experiment_by_name(experiment).experiment_id]
        runs = {}
        for run in client.search_runs(ids):
            assert run.info.run_name not in runs
            run_id = run.info.run_id
            runs[run.info.run_name] = {
                "status": run.info.status,
                "points": {
                    name: [(point.step, point.value) for point in client.get_metric_history(run_id, name)]
                    for name in run.data.metrics
                },
                "params": run.data.params,
                "tags": {name: value for name, value in run.data.tags.items() if name not in VOLATILE},
                "data": [one.dataset.digest for one in run.inputs.dataset_inputs],
                "files": sorted((name, size) for name, size in files(client, run_id) if not name.endswith(".log")),
                "models": len(client.search_model_versions(f"run_id = '{run_id}'")),
                "run ids in the description": run.data.tags.get("mlflow.note.content", "").count("run-"),
            }
        return runs

    return look


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.fixture
def undisturbed(known, record, found, server, experiment):
    """Return what the server holds of a sweep to which nothing happened."""
    if not known:
        record(f"http://127.0.0.1:{server}", experiment + "-undisturbed")
        known.update(found(experiment + "-undisturbed"))
    return known


@pytest.fixture
def log(record, found, proxy, experiment, tmp_path):
    """Return the log of a sweep whose server went away in the middle and did not come back before its end."""

    def goes_away():
        wait_for(lambda: found(experiment).get("a", {}).get("status") == "FINISHED")
        proxy.fault = "down"

    with impatient(), pytest.raises(RecordError, match=r"written by: python -m pipeline\.backfill /.*\.log$"):
        record(proxy.uri, experiment, begun=goes_away)
    (path,) = tmp_path.glob("record-*.log")
    return path


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def comes_back(proxy):
    """Let the store answer once there is much that it lacks."""
    time.sleep(0.7)
    proxy.fault = None


@pytest.mark.parametrize("fault", ["down", "503", "stuck", "login"])
def test_a_server_that_comes_back_gets_everything_once(fault, record, found, undisturbed, proxy, experiment):
    record(
        proxy.uri,
        experiment,
        begun=lambda: setattr(proxy, "fault", fault),
        ended=lambda: comes_back(proxy),
    )

    assert found(experiment) == undisturbed


def test_files_that_a_page_to_sign_in_has_swallowed_are_kept_and_written_again(proxy, experiment):
    store = open_store(proxy.uri, experiment)
    first = Change(name="a", start=0, files={"config.yaml": b"seed: 0"})
    store.apply({RUN: first})  # from now on MLflow knows where the files of the run go
    change = Change(files={"figures/loss.png": b"loss", "arrays.npz": b"weights"})

    proxy.fault = "login"
    with pytest.raises(MlflowException, match="not in a valid JSON format"):
        store.apply({RUN: change})
    proxy.fault = None
    store.apply({RUN: change})

    files = store.client.list_artifacts(store.ids[RUN])
    assert [file.path for file in files] == ["arrays.npz", "config.yaml", "figures"]
    assert change.files == {}


def test_a_slow_server_holds_nothing_up_and_gets_everything_once(
    record, found, undisturbed, proxy, experiment, tmp_path
):
    waited = []
    record(
        proxy.uri,
        experiment,
        opened=lambda: setattr(proxy, "fault", "slow"),
        # All three trials are recorded, and the server knows nothing of the last yet.
        ended=lambda: waited.append(found(experiment).get("c")),
    )

    assert waited == [None]
    assert found(experiment) == undisturbed


def test_answers_that_are_lost_make_nothing_twice(record, found, undisturbed, proxy, experiment):
    record(proxy.uri, experiment, opened=lambda: setattr(proxy, "fault", "lost"), register_model=False)

    runs = found(experiment)
    assert runs == undisturbed | {"c": undisturbed["c"] | {"models": 0}}


def test_what_a_dead_server_lacks_is_backfilled_once(log, found, undisturbed, proxy, experiment):
    with pytest.raises(RecordError, match="must be a store that can be reached"):
        backfill(log, None)
    proxy.fault = None

    done = backfill(log, None)

    assert done.lost == ()
    assert found(experiment) == undisturbed
    assert done.entries > 0
    # and once more there is nothing to do
    again = backfill(log, None)
    assert (again.entries, again.lost) == (0, ())
    assert found(experiment) == undisturbed


def test_a_log_is_backfilled_into_its_experiment_whatever_its_name_is_now(log, found, undisturbed, proxy, experiment):
    proxy.fault = None
    client, name = connect(proxy.uri, create=False), f"{experiment} renamed"
    client.rename_experiment(client.get_experiment_by_name(experiment).experiment_id, name)

    assert backfill(log, None).lost == ()

    assert found(name) == undisturbed
    assert client.get_experiment_by_name(experiment) is None


def test_a_damaged_log_is_written_up_to_the_damage_and_the_loss_is_named(log, found, undisturbed, proxy, experiment):
    proxy.fault = None
    whole = log.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) * 3 // 4] ^= 4
    for content, ended in ((whole[: len(whole) // 2], "the run strategies on tiny ("), (flipped, "")):
        log.write_bytes(content)

        done = backfill(log, None)

        assert "the log is damaged, and what follows is lost: an entry must be as it was written" in done.lost[0]
        assert ended in "".join(done.lost[1:])
        runs = found(experiment)
        assert "RUNNING" not in {run["status"] for run in runs.values()}
        assert (runs["a"]["status"], runs["a"]["points"]) == ("FINISHED", undisturbed["a"]["points"])
        for name, run in runs.items():
            for metric, points in run["points"].items():
                assert points == undisturbed[name]["points"][metric][: len(points)]

    # when it is found whole after all
    log.write_bytes(whole)
    assert backfill(log, None).lost == ()
    runs = found(experiment)
    for run in runs.values():
        run["tags"].pop("outcome.message", None)
    assert runs == undisturbed


def test_a_lone_trial_is_backfilled_too(proxy, experiment, found, tiny, trial, layout, tmp_path):
    planned, recorder = trial("alone"), MlflowRecorder(proxy.uri, experiment, folder=tmp_path)
    recorder.open(None, tiny, Provenance())
    proxy.fault = "down"
    recorder.record(Started(trial=planned))
    recorder.record(Progressed(trial=planned, curve=block(0, 5, loss=lambda s: s)))
    recorder.record(Finished(trial=planned, result=done(), layout=layout))
    with impatient(), pytest.raises(RecordError, match=r"pipeline\.backfill"):
        recorder.close("FINISHED")
    (log,) = tmp_path.glob("record-*.log")
    proxy.fault = None

    finished = backfill(log, None)

    assert finished.lost == ()
    runs = found(experiment)
    assert runs["alone"]["status"] == "FINISHED"
    assert runs["alone"]["points"]["loss"] == [(step, step) for step in range(5)]
    assert "/runs/" in finished.look


def resume(proxy, experiment, tiny, folder):
    """Resume the sweep without a trial, and end it; return what was known of it."""
    past = find_past(proxy.uri, experiment, "a sweep")
    recorder = MlflowRecorder(proxy.uri, experiment, folder=folder)
    known = recorder.open(header(), tiny, Provenance(), past)
    recorder.close("FINISHED")
    return known


def test_a_sweep_is_resumed_from_its_log_wherever_and_the_store_gets_what_it_lacks(
    log, found, undisturbed, proxy, experiment, tiny, tmp_path
):
    proxy.fault = None
    assert len(find_past(proxy.uri, experiment, "a sweep").runs) < 3
    now = tmp_path / "elsewhere"
    now.mkdir()

    known = resume(proxy, experiment, tiny, now)

    assert {result.step for result in known.ended.values()} == {199}
    assert len(known.ended) == 3
    assert list(now.iterdir()) == []
    runs = found(experiment)
    assert all(runs[name] == undisturbed[name] for name in "abc")
    # and nothing is left to be backfilled
    assert backfill(log, None).entries == 0


def test_a_store_that_lacks_the_sweep_gets_all_of_it(
    record, found, store_uri, server, experiment, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    record(store_uri, experiment)
    (log,) = tmp_path.glob("record-*.log")
    undisturbed = found(experiment, store_uri)

    for store in (f"sqlite:///{tmp_path}/new/mlflow.db", f"http://127.0.0.1:{server}"):
        done = backfill(Path(log.name), store)

        assert done.lost == ()
        assert found(experiment, store) == undisturbed
        (past,) = latest_sweeps(store, experiment)
        assert (past.tags["log"], past.unended) == (str(log), ())
        # its description opens this store, and no other
        assert store in past.tags["mlflow.note.content"]
        assert store_uri not in past.tags["mlflow.note.content"]
        # and once more there is nothing to do
        assert backfill(log, store).entries == 0
        assert found(experiment, store) == undisturbed


def test_a_log_of_a_sweep_that_a_person_has_deleted_does_not_bring_it_back(log, proxy, experiment):
    proxy.fault = None
    past = find_past(proxy.uri, experiment, "a sweep")
    client = connect(proxy.uri, create=False)
    client.delete_run(past.run_id)

    with pytest.raises(RecordError, match=f"the sweep's run must not be deleted .*, got '{past.run_id}'"):
        backfill(log, None)

    client.restore_run(past.run_id)
    assert backfill(log, None).lost == ()


def test_a_log_is_refused_once_its_sweep_has_been_resumed_without_it(log, proxy, experiment, tiny, tmp_path, store_uri):
    proxy.fault = None
    kept = log.rename(tmp_path / "kept.log")
    resume(proxy, experiment, tiny, tmp_path)

    with pytest.raises(RecordError, match="must not have been resumed with another log"):
        backfill(kept, None)

    # and the new log does not hold what ended before it, for a store that lacks that
    past = find_past(proxy.uri, experiment, "a sweep")
    for _ in range(2):
        assert backfill(Path(past.tags["log"]), store_uri).lost == tuple(
            f"the run {run_id} is missing: it ended before this log began" for run_id in sorted(past.runs.values())
        )
    assert backfill(Path(past.tags["log"]), None).lost == ()


def test_a_sweep_that_is_resumed_in_a_copy_of_its_folder_is_backfilled_into_the_store_of_the_copy(
    tmp_path, empty_store, tiny, trial, layout
):
    original, copy, planned = tmp_path / "original", tmp_path / "copy", trial()
    original.mkdir()
    shutil.copy(empty_store, original / "mlflow.db")
    first = MlflowRecorder(f"sqlite:///{original}/mlflow.db", "sweep", folder=original)
    first.open(header(planned), tiny, Provenance())
    first.close("KILLED")
    shutil.copytree(original, copy)
    uri = f"sqlite:///{copy}/mlflow.db"
    again = MlflowRecorder(uri, "sweep", folder=copy)
    past = find_past(uri, "sweep", "a sweep")
    again.open(header(planned), tiny, Provenance(), past)
    again.record(Started(trial=planned))
    again.record(Finished(trial=planned, result=done(), layout=layout))
    again.close("FINISHED")
    (log,) = copy.glob("record-*.log")

    backfilled = backfill(log, None)

    assert (backfilled.entries, backfilled.lost) == (0, ())
    assert str(copy) in backfilled.look
    runs = connect(f"sqlite:///{original}/mlflow.db", create=False)
    experiment = runs.get_experiment_by_name("sweep")
    assert [run.info.status for run in runs.search_runs([experiment.experiment_id])] == ["KILLED"]


def test_a_log_that_cannot_be_written_is_told_once_and_everything_waits_in_memory(
    record, found, undisturbed, proxy, experiment, tmp_path, caplog
):
    (tmp_path / "file").touch()

    def told():
        return [text for text in caplog.messages if "the log cannot be written" in text]

    def comes_back():
        wait_for(told)
        time.sleep(0.5)
        proxy.fault = None

    record(
        proxy.uri,
        experiment,
        begun=lambda: setattr(proxy, "fault", "down"),
        ended=comes_back,
        folder=tmp_path / "file" / "folder",
    )

    assert len(told()) == 1
    assert found(experiment) == undisturbed


def test_without_server_and_log_the_loss_is_told(record, proxy, experiment, tmp_path):
    (tmp_path / "file").touch()

    rule = (
        r"the record is incomplete: .*; and the log cannot be written: .*; "
        r"what both lack is computed again with sweep\.resume=true$"
    )
    with impatient(), pytest.raises(RecordError, match=rule):
        record(
            proxy.uri,
            experiment,
            begun=lambda: setattr(proxy, "fault", "down"),
            folder=tmp_path / "file",
        )


def test_what_a_proxy_finds_too_large_is_lost_alone_and_told(record, found, undisturbed, proxy, experiment, tmp_path):
    began = time.monotonic()
    with pytest.raises(RecordError, match=r"the record lacks what \d+ failed writes held, the first: .* 413"):
        record(proxy.uri, experiment, opened=lambda: setattr(proxy, "fault", "small"), register_model=False)

    assert time.monotonic() - began < PATIENCE / 2
    runs = found(experiment)
    assert {name: runs[name]["status"] for name in "abc"} == dict.fromkeys("abc", "FINISHED")
    assert all(runs[name]["points"].items() <= undisturbed[name]["points"].items() for name in "abc")


def test_a_store_that_lacks_a_table_is_no_outage_and_its_log_is_written_once_it_has_it(
    record, empty_store, experiment, tmp_path, monkeypatch, messages_of
):
    # given a store that loses a table in the middle of a sweep
    file = shutil.copy(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{file}"
    tries = []
    apply = SqliteStore.apply
    monkeypatch.setattr(SqliteStore, "apply", lambda self, *batch: (tries.append(batch), apply(self, *batch))[1])

    def rename(before, after):
        with contextlib.closing(sqlite3.connect(file, timeout=30)) as connection, connection:
            connection.execute(f"ALTER TABLE {before} RENAME TO {after}")

    def waits_for_the_end():
        wait_for(lambda: messages_of(exporter))
        tried.append(len(tries))
        time.sleep(0.5)  # ten times as long as until another try

    tried = []
    began = time.monotonic()
    with pytest.raises(RecordError) as error:
        record(uri, experiment, begun=lambda: rename("params", "kept"), ended=waits_for_the_end)

    # then it is told once, not tried again, and not waited for
    assert time.monotonic() - began < PATIENCE / 2
    assert tried == [len(tries)]
    reason = "its tables are not those of MLflow: (sqlite3.OperationalError) no such table: params"
    told = f"nothing more is written to the store, and training goes on: {reason}"
    assert messages_of(exporter) == [told]
    assert reason in str(error.value)
    (path,) = tmp_path.glob("record-*.log")
    assert str(error.value).endswith(f"python -m pipeline.backfill {path}")
    # nor does a backfilling lose anything
    with pytest.raises(RecordError, match="no such table: params"):
        backfill(path, None)
    rename("kept", "params")
    assert backfill(path, None).lost == ()
    client = connect(uri, create=False)
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    for run in runs:
        if "mlflow.parentRunId" in run.data.tags:
            steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
            assert steps == list(range(200))
            assert "steps" in run.data.params
