"""A tag that a person has changed in MLflow, or removed, is an error that names it, wherever a command needs it."""

import dataclasses
from concurrent.futures import Future

import pytest

from pipeline.backfill.command import backfill
from pipeline.background import in_background
from pipeline.config.identity import CODE
from pipeline.config.schema import parse
from pipeline.errors import RecordError
from pipeline.record.protocol import CHECKPOINTS, Provenance
from pipeline.report.page import comparison_page, sweep_page
from pipeline.reports import Finished
from pipeline.reproduce.command import _read
from pipeline.reproduce.comparison import compare
from pipeline.reproduce.rerun import _ends
from pipeline.sweep.opening import Header, Record, open_record
from pipeline.tracking.connection import connect
from pipeline.tracking.mlflow_recorder import MlflowRecorder
from pipeline.tracking.reader import open_reader
from tasks.events import Outcome
from tests.pipeline.record.recording import done, header, parent_of

pytestmark = pytest.mark.slow

LAYOUT = {f"layout.{name}" for name in ("host", "device", "blas", "width", "slot", "threads")}
OF_A_TRIAL = {"index", "outcome.step", "config.sha256", *LAYOUT}
NEEDED = {
    "report": {"index", "outcome.step"},
    "reproduce": OF_A_TRIAL,
    "resume without the log": {*OF_A_TRIAL, "log.entries", "outcome"},
    "backfill": {"log.entries", "log"},
}
"""The tags that hold what is needed, by the commands that need it."""

PLACES = {"mlflow.parentRunId", "sweep.key", "recorder.run"}
"""The tags by which a sweep and its trials are found: with others they are those of another sweep."""


@pytest.fixture
def resume(store_uri, experiment, tiny, tmp_path):
    """Return what resumes a sweep with a header, and ends it."""

    def make(head):
        tracking = {"uri": store_uri, "experiment": experiment}
        config = parse({"sweep": {"resume": True}, "tracking": tracking})
        recorder, connected = MlflowRecorder(store_uri, experiment, folder=tmp_path / "again"), Future()
        connected.set_result(None)
        opening = Header(sweep=head, dataset=tiny, provenance=Provenance())
        opened = open_record(recorder, connected, config, opening, tmp_path / "again")
        Record(recorder, in_background(lambda: opened)).close("FAILED")

    return make


def report(uri, parent):
    sweep = open_reader(uri).sweep(parent)
    sweep_page(sweep)
    comparison_page(sweep, sweep)


def reproduce(uri, parent, planned):
    _, (old,), _ = _read(open_reader(uri), parent)
    _ends([planned], [old], [True])
    compare(old, old)


def message(command, *arguments):
    """Return the message of the error that a command ends in, an empty one if it ends well."""
    try:
        command(*arguments)
    except RecordError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("command", NEEDED)
def test_every_tag_that_is_changed_or_removed_is_named_or_not_needed(
    store_uri, experiment, tiny, trial, layout, tmp_path, resume, command
):
    # given a sweep of a trial that was stopped early
    planned = trial()
    tags = {CODE: "code", CHECKPOINTS: str(tmp_path / "checkpoints")}
    head = dataclasses.replace(header(planned), tags=tags)
    recorder = MlflowRecorder(store_uri, experiment, folder=tmp_path)
    recorder.open(head, tiny, Provenance())
    result = done(Outcome.STOPPED, **{"val/accuracy": 0.5})
    recorder.record(Finished(trial=planned, result=result, layout=layout))
    recorder.close("FINISHED")
    (log,), parent = tmp_path.glob("*.log"), parent_of(recorder)
    if command == "resume without the log":
        log.unlink()
    calls = {"report": (report, store_uri, parent), "reproduce": (reproduce, store_uri, parent, planned)}
    call = calls | {"backfill": (backfill, log, store_uri)}

    named, client = set(), connect(store_uri, create=False)
    whole = {run: dict(client.get_run(run).data.tags) for run in (parent, recorder.run_id(planned))}
    for run, tags in whole.items():
        needed = tags.keys() & NEEDED[command]
        others = tags.keys() - PLACES - needed
        # when those are changed that are not needed, and each that is needed is changed, and then removed
        for names, value in [(others, "nonsense"), *(({one}, value) for one in needed for value in ("nonsense", ""))]:
            for name in names:
                if value:
                    client.set_tag(run, name, value)
                else:
                    client.delete_tag(run, name)

            told = message(*call.get(command, (resume, head)))

            if told:
                named |= names
                assert run in told, (names, told)
                assert names == {"config.sha256"} or all(name in told for name in names), (names, told)
                assert value in told, (names, told)
            for one, before in whole.items():
                for tag, text in before.items() - client.get_run(one).data.tags.items():
                    client.set_tag(one, tag, text)
    # then each of these is named, and the others are not needed
    assert named == NEEDED[command]
