import io
import os
import signal
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pipeline.background import in_background
from pipeline.display.console import Display, plain_console
from pipeline.errors import EngineError, Interrupted, RecordError
from pipeline.plan.plan import Group, Progress
from pipeline.reports import Decided, Finished, Notice, Paused, Progressed, Started
from pipeline.results.failures import Failures
from pipeline.results.fault_log import FaultLog
from pipeline.results.tally import Tally
from pipeline.signals import StopSignals
from pipeline.stopping.rung_system import Decision
from pipeline.sweep.follow import ReportHandler, compute_and_record
from pipeline.sweep.opening import OpenRecord, Record
from tasks.events import Checkpoint, Curve, Outcome, Result
from tests.memory_recorder import MemoryRecorder

FAILURES = Failures(range(1), FaultLog(Path()))


class Endless:
    """An engine that begins the same trial without end."""

    def __init__(self):
        self.closed = False

    def load(self, dataset):
        pass

    def submit(self, groups, *, last):
        self.groups = groups

    def reports(self):
        while True:
            yield Started(trial=self.groups[0].trials[0], host="here")

    def close(self):
        self.closed = True


class Idle(Endless):
    """An engine that has nothing to do."""

    def reports(self):
        return iter(())


class Stopped(Idle):
    """An engine that a signal interrupts."""

    def reports(self):
        raise Interrupted(signal.SIGINT)
        yield


class Failing(Idle):
    """An engine that ends with an error of its own."""

    def reports(self):
        raise EngineError("no worker can start")
        yield


class Slow(MemoryRecorder):
    def close(self, status):
        time.sleep(1)
        super().close(status)


class Broken(MemoryRecorder):
    def close(self, status):
        super().close(status)
        raise RecordError("the store is gone")


def test_a_signal_stays_one_if_the_record_cannot_be_closed_either(tiny):
    out, recorder, tally = io.StringIO(), Broken(), Tally([])
    record = Record(recorder, in_background(OpenRecord))
    with pytest.raises(Interrupted), Display(Console(file=out), tally) as display:
        compute_and_record([], tiny, Stopped(), record, tally, display, FAILURES)

    assert recorder.status == "KILLED"
    assert "error: the store is gone" in out.getvalue()


def test_an_error_stays_what_it_is_if_the_record_cannot_be_closed_either(tiny):
    out, recorder, tally = io.StringIO(), Broken(), Tally([])
    record = Record(recorder, in_background(OpenRecord))
    with pytest.raises(EngineError, match="no worker"), Display(Console(file=out), tally) as display:
        compute_and_record([], tiny, Failing(), record, tally, display, FAILURES)

    assert recorder.status == "FAILED"
    assert "error: the store is gone" in out.getvalue()


def test_trials_are_stopped_if_the_record_cannot_be_opened(tiny, trial):
    planned, engine, opening = trial("one"), Endless(), Future()
    tally, group = Tally([planned]), Group(trials=(planned,))
    threading.Timer(0.2, opening.set_exception, [RecordError("no such store")]).start()
    record = Record(MemoryRecorder(), opening)
    with pytest.raises(RecordError, match="no such store"), Display(Console(file=io.StringIO()), tally) as display:
        compute_and_record([group], tiny, engine, record, tally, display, FAILURES)

    assert engine.closed


def test_a_signal_while_the_record_is_being_closed_is_heard_once_it_is(tiny):
    recorder, tally = Slow(), Tally([])
    threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
    record = Record(recorder, in_background(OpenRecord))
    with StopSignals(), pytest.raises(Interrupted), Display(Console(file=io.StringIO()), tally) as display:
        compute_and_record([], tiny, Idle(), record, tally, display, FAILURES)

    assert recorder.status == "FINISHED"


def test_of_decisions_at_rungs_those_are_told_that_decide_something():
    out, tally = io.StringIO(), Tally([])
    record = Record(MemoryRecorder(), in_background(OpenRecord))
    with Display(Console(file=out), tally) as display:
        handler = ReportHandler(record, tally, display, FAILURES)
        # The rung is closed again, with nobody new; at another rung all go on.
        for passed, stopped in ((), ("b",)), ((), ()), (("a", "b"), ()):
            decision = Decision(
                step=100, pool=0, arrived=2, scores={"a": 0.9, "b": 0.8}, passed=passed, stopped=stopped, complete=True
            )
            handler.handle(Decided(decision=decision, names={}, metric="val/accuracy", sign=1))

    assert out.getvalue().count("rung at step 100") == 1


def test_what_an_engine_says_to_a_person_is_shown():
    out, tally = io.StringIO(), Tally([])
    record = Record(MemoryRecorder(), in_background(OpenRecord))

    ReportHandler(record, tally, Display(plain_console(file=out), tally), FAILURES).handle(Notice(text="for [room]"))

    assert out.getvalue() == "for [room]\n"


def test_trials_that_have_paused_do_not_count_as_running(trial, layout):
    trials = [trial("goes on"), trial("is stopped"), trial("runs")]
    tally = Tally(trials)
    record = Record(MemoryRecorder(), in_background(OpenRecord))
    handler = ReportHandler(record, tally, Display(Console(file=io.StringIO()), tally), FAILURES)
    checkpoint = Checkpoint(step=10, trials=np.arange(2), arrays={})
    curve = Curve(trial=0, steps=np.array([20]), metrics={"train/loss": np.array([1.0])})
    stopped = Result(trial=0, outcome=Outcome.STOPPED, step=10, metrics={})

    def line(*reports):
        for report in reports:
            handler.handle(report)
        return Display(Console(file=io.StringIO()), tally)._line().partition(" failed")[0]

    progress = Progress(checkpoint=checkpoint, curves=())
    paused = Paused(trials=tuple(trials[:2]), progress=progress, layouts=(layout,) * 2)
    assert line(*(Started(trial=one) for one in trials), paused) == "0/3 trials, 1 running, 2 paused, 0"
    assert line(Progressed(trial=trials[0], curve=curve)) == "0/3 trials, 2 running, 1 paused, 0"
    assert line(Finished(trial=trials[1], result=stopped, layout=layout)) == "1/3 trials, 2 running, 0"
