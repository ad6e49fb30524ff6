"""An exporter writes what there is until it is done or refused, and goes on where a store answers again."""

import threading
import time
from pathlib import Path

import pytest

from pipeline.record.outbox import Change
from pipeline.results.fault_log import NAME, FaultLog
from pipeline.tracking import exporter
from pipeline.tracking.exporter import Exporter


class Moody:
    """A store that refuses what is bad, and is away a few times."""

    def __init__(self, away=0, why="away"):
        self.done, self.answered, self.given_up = [], 0.0, threading.Event()
        self.away, self.why = away, why

    def apply(self, changes):
        if self.away:
            self.away -= 1
            raise OSError(self.why)
        self.done.append(list(changes))
        return [ValueError(run) for run in changes if run == "bad"]

    def delete_duplicates(self):
        pass


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(exporter, "RETRY_AFTER", 0.01)


@pytest.fixture
def _impatient(monkeypatch):
    monkeypatch.setattr(exporter, "PATIENCE", 0.6)


def run(store, folder, *batches, log_file=None):
    waiting = [{run: Change() for run in runs} for runs in batches]
    return Exporter(
        store, lambda: log_file, lambda: waiting.pop(0) if waiting else {}, FaultLog(folder), threading.Event()
    )


def test_what_is_refused_is_told_and_the_rest_is_written_in_order(tmp_path):
    store = Moody()
    export = run(store, tmp_path, ["one", "bad"], ["two"])

    assert export.close() == ""
    assert store.done == [["one", "bad"], ["two"]]
    assert [str(error) for error in export.refused] == ["bad"]
    assert not (tmp_path / NAME).exists()


def test_a_store_that_comes_back_while_it_is_waited_for_gets_everything(tmp_path):
    store = Moody(away=3)
    export = run(store, tmp_path, ["one"], ["two"])

    assert export.close() == ""
    assert store.done == [["one"], ["two"]]
    assert "the store answers again" in (tmp_path / NAME).read_text()


@pytest.mark.usefixtures("_impatient")
def test_a_store_that_stays_away_is_given_up_in_time(tmp_path):
    store = Moody(away=10**6)

    assert run(store, tmp_path, ["one"]).close() == "away"


@pytest.mark.usefixtures("_impatient")
def test_how_long_a_store_was_silent_is_told_as_of_when_it_was_given_up(tmp_path):
    class Slow(Moody):
        def apply(self, changes):
            self.given_up.wait()
            self.answered = time.monotonic()
            return super().apply(changes)

    assert run(Slow(), tmp_path, ["one"], ["two"]).close() == "no answer for 1 s"


@pytest.mark.usefixtures("_impatient")
def test_why_a_store_stays_away_is_told_without_what_sqlalchemy_puts_around_it(tmp_path):
    hint, full = "(raised as a result of Query-invoked autoflush; ...)", "(OperationalError) database or disk is full"
    store = Moody(away=10**6, why=f"{hint}\n{full}\n[SQL: INSERT INTO runs]")

    assert run(store, tmp_path, ["one"]).close() == full


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize(
    ("log_file", "then"),
    [
        (Path("a b.log"), "; this command then writes what is missing: python -m pipeline.backfill 'a b.log'"),
        (None, ""),
    ],
)
def test_a_wait_is_told_and_a_backfill_only_where_the_log_holds_what_it_would_write(tmp_path, caplog, log_file, then):
    run(Moody(away=10**6), tmp_path, ["one"], log_file=log_file).close()

    assert f"waiting for the store, at most 1 s (Ctrl-C stops waiting){then}" in caplog.messages
