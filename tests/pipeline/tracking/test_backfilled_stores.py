"""What the log of a sweep writes to a store that lacks it, and what it has lost: no store loses what it has."""

import dataclasses
import itertools
import shutil
import sqlite3
from contextlib import closing

import pytest

from pipeline.backfill.backfill import backfill
from pipeline.record.log import Log
from pipeline.record.protocol import FOLDER, Provenance
from pipeline.reports import Finished, Progressed, Started
from pipeline.results.criterion import Criterion
from pipeline.results.page import VIEW_TAG
from pipeline.tracking.connection import connect
from pipeline.tracking.mlflow_recorder import MlflowRecorder
from pipeline.tracking.unfinished import find_past, latest_sweeps
from tests.pipeline.record.recording import block, done, header

pytestmark = pytest.mark.slow


def test_another_store_has_a_sweep_as_it_was_resumed(store_uri, experiment, tiny, trial, layout, tmp_path):
    planned = trial()
    first = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    first.open(header(planned), tiny, Provenance())
    first.close("KILLED")
    again = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    criterion = Criterion(metric="train/loss", mode="min")
    changed = dataclasses.replace(header(planned), criterion=criterion)
    place = Provenance(tags={FOLDER: "/elsewhere"})
    again.open(changed, tiny, place, find_past(store_uri, experiment, "a sweep"))
    again.record(Finished(trial=planned, result=done(**{"train/loss": 0.5}), layout=layout))
    again.close("FINISHED")
    (log,) = tmp_path.glob("record-*.log")
    other = f"sqlite:///{tmp_path}/other.db"

    assert backfill(log, other).lost == ()

    for store in (store_uri, other):
        (past,) = latest_sweeps(store, experiment)
        assert Criterion.from_tags(past.tags, ()) == criterion
        assert past.tags[FOLDER] == "/elsewhere"
        client = connect(store, create=False)
        tags = client.get_experiment_by_name(experiment).tags
        assert "metrics.`train/loss`" in tags[f"{VIEW_TAG}{past.run_id}"]


def test_what_a_log_has_lost_of_a_run_is_told_of_each_store_that_lacks_it(
    store_uri, server, experiment, tiny, trial, layout, tmp_path
):
    # given a log whose end was lost with that of a trial, and a resume that found this in the store
    planned = trial()
    recorder = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    recorder.open(header(planned), tiny, Provenance())
    recorder.record(Started(trial=planned))
    recorder.record(Finished(trial=planned, result=done(), layout=layout))
    recorder.close("KILLED")
    (log,) = tmp_path.glob("record-*.log")
    cut_after(log, 2)
    again = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    past = find_past(store_uri, experiment, "a sweep")
    assert again.open(header(planned), tiny, Provenance(), past).ended.keys() == {planned.key}
    again.close("FINISHED")

    for store in (f"sqlite:///{tmp_path}/other.db", f"http://127.0.0.1:{server}"):
        assert "its end is lost" in backfill(log, store).lost[0]

        (other,) = latest_sweeps(store, experiment)
        assert (other.unended, other.runs) == ((), {})
    # and the store from which it was read loses nothing
    assert backfill(log, None).lost == ()
    assert find_past(store_uri, experiment, "a sweep").runs == past.runs


def test_params_that_a_log_has_lost_are_not_written_to_a_store_that_has_others(
    server, experiment, tiny, trial, layout, tmp_path
):
    uri, trials = f"http://127.0.0.1:{server}", [trial(learning_rate=rate) for rate in (1.0, 2.0, 3.0)]
    first = MlflowRecorder(uri, experiment, folder=tmp_path)
    first.open(header(*trials[:2]), tiny, Provenance())
    first.close("FINISHED")
    (log,) = tmp_path.glob("record-*.log")
    cut_after(log, 1)

    # when a search, say, has proposed others than before
    again = MlflowRecorder(uri, experiment, folder=tmp_path)
    again.open(header(*trials[:2]), tiny, Provenance(), find_past(uri, experiment, "a sweep"))
    again.record(Finished(trial=trials[2], result=done(), layout=layout))
    again.close("FINISHED")

    assert find_past(uri, experiment, "a sweep").runs.keys() == {trials[2].key}


def test_params_that_a_log_has_lost_are_written_to_a_store_that_has_none(
    store_uri, experiment, tiny, trial, layout, tmp_path, empty_store
):
    trials, uri = [trial(learning_rate=rate) for rate in (1.0, 2.0)], f"sqlite:///{tmp_path}/other.db"
    shutil.copy(empty_store, tmp_path / "other.db")
    recorder = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    recorder.open(header(*trials), tiny, Provenance())
    for planned in trials:
        recorder.record(Finished(trial=planned, result=done(), layout=layout))
    recorder.close("FINISHED")
    (log,) = tmp_path.glob("record-*.log")
    cut_after(log, 3)
    again = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    again.open(header(*trials), tiny, Provenance(), find_past(store_uri, experiment, "a sweep"))
    again.close("FINISHED")

    assert backfill(log, uri).lost == ()

    own, other = (
        connect(one, create=False).get_run(find_past(one, experiment, "a sweep").run_id) for one in (store_uri, uri)
    )
    assert other.data.params == own.data.params
    assert other.data.params["swept.learning_rate"] == "1, 2"


def test_a_backfill_from_a_copy_of_a_log_does_not_end_a_sweep_that_has_been_resumed(
    store_uri, experiment, tiny, trial, tmp_path
):
    # given a folder that was copied to another machine, where the lock of its log is not seen
    planned, here, copy = trial(), tmp_path / "here", tmp_path / "copy"
    here.mkdir()
    first = MlflowRecorder(store_uri, experiment, folder=here)
    first.open(header(planned), tiny, Provenance())
    first.close("KILLED")
    shutil.copytree(here, copy)
    past = find_past(store_uri, experiment, "a sweep")
    again = MlflowRecorder(store_uri, experiment, folder=here)
    again.open(header(planned), tiny, Provenance(), past)
    (log,) = copy.glob("record-*.log")

    assert backfill(log, None).lost == ()

    assert find_past(store_uri, experiment, "a sweep").unended == (past.run_id,)
    again.close("FINISHED")


def test_a_log_that_is_damaged_before_what_the_store_has_takes_nothing_back(store_uri, tiny, trial, layout, tmp_path):
    planned = trial()
    recorder = MlflowRecorder(store_uri, f"damaged {tmp_path}", folder=tmp_path)
    recorder.open(header(planned), tiny, Provenance())
    recorder.record(Started(trial=planned))
    recorder.record(Progressed(trial=planned, curve=block(0, 3, **{"train/loss": lambda s: 1.0 - s / 4})))
    recorder.record(Progressed(trial=planned, curve=block(3, 6, **{"train/loss": lambda s: 0.5 - s / 16})))
    recorder.record(Finished(trial=planned, result=done(step=5), layout=layout))
    recorder.close("FINISHED")
    before = everything(store_uri)

    # given that the log ends after the first points
    (log,) = tmp_path.glob("record-*.log")
    assert type(cut_after(log, 3)).__name__ == "Progressed"

    assert "its sweep was killed, or the file was cut short" in backfill(log, None).lost[0]
    assert everything(store_uri) == before


def cut_after(log, entries):
    """Remove all but the first entries of a log, and return the last of them."""
    with closing(Log.open(log)) as opened:
        *_, (_, last) = itertools.islice(opened.read(), entries)
        log.write_bytes(log.read_bytes()[: opened._end])
    return last


def everything(uri):
    """Return all rows of the runs in a store."""
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        tables = ("runs", "metrics", "latest_metrics", "params", "tags")
        return {name: sorted(map(repr, connection.execute(f"SELECT * FROM {name}"))) for name in tables}
