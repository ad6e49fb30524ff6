"""What a trial's own code prints and logs is heard, and passed on."""

from __future__ import annotations

import logging
import sys
import threading
import tracemalloc
from dataclasses import dataclass
from typing import ClassVar

import pytest

from pipeline.engine.output_capture import MAX_CHARACTERS, OutputCapture
from pipeline.engine.worker import compute
from pipeline.raised import Raised
from tasks.datasets.nothing import Nothing
from tasks.single import Single
from tasks.trial import Trial

log = logging.getLogger("my_sweeps")


def events(*words):
    for word in words:
        print(word)
        yield word


def test_what_is_printed_and_logged_between_events_is_heard_and_passed_on(capsys):
    capture, streams = OutputCapture(), (sys.stdout, sys.stderr)

    def spoken():
        print("one")
        log.info("two")
        sys.stderr.writelines(["thr", "ee\n"])
        yield 1
        yield 2

    heard = []
    for number in capture.follow(spoken()):
        print("not the trial's")
        heard.append((number, capture.drain()))

    assert [number for number, _ in heard] == [1, 2]
    one, two, three = heard[0][1].splitlines()
    assert (one, three, heard[1][1]) == ("one", "three", "")
    assert two.endswith("INFO my_sweeps: two")
    assert capsys.readouterr() == ("one\nnot the trial's\nnot the trial's\n", "three\n")
    assert (sys.stdout, sys.stderr) == streams


def test_a_call_of_logging_that_does_not_fit_its_format_costs_its_line_only(monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # those of pytest raise
    monkeypatch.setattr(logging, "raiseExceptions", True)  # the command line turns it off
    capture = OutputCapture()

    def spoken():
        log.info("%d images", "no")
        log.info("next")
        yield 1

    assert list(capture.follow(spoken())) == [1]
    heard = capture.drain()
    assert "Logging error" in heard
    assert heard.splitlines()[-1].endswith("INFO my_sweeps: next")


def test_a_trial_that_closes_its_output_leaves_that_of_the_command_open(capsys):
    def closed():
        sys.stdout.close()
        sys.stderr.close()
        print("still heard")
        yield 1

    capture = OutputCapture()
    assert list(capture.follow(closed())) == [1]
    print("the command's")

    assert capture.drain() == "still heard\n"
    assert capsys.readouterr().out == "still heard\nthe command's\n"


class Copied:
    """As in many training scripts: a copy of the standard output, which passes everything on."""

    def __init__(self, stream):
        self.stream, self.copy = stream, []

    def write(self, text):
        self.copy.append(text)
        return self.stream.write(text)


def test_a_stream_that_a_trial_puts_in_place_of_its_own_ends_with_it(capsys):
    copies = []

    def spoken(name):
        sys.stdout = copied = Copied(sys.stdout)
        copies.append(copied.copy)
        print(name)
        yield 1
        print("again")

    for name in ("one", "two"):
        capture = OutputCapture()
        for _ in capture.follow(spoken(name)):
            print("not the trial's")
        assert capture.drain() == f"{name}\nagain\n"

    assert ["".join(copy) for copy in copies] == ["one\nagain\n", "two\nagain\n"]
    assert capsys.readouterr().out == "one\nnot the trial's\nagain\ntwo\nnot the trial's\nagain\n"


def test_other_threads_are_not_heard():
    capture = OutputCapture()

    def working():
        other = threading.Thread(target=print, args=("the driver's",))
        other.start()
        other.join()
        yield 1

    assert (list(capture.follow(working())), capture.drain()) == ([1], "")


def test_more_than_can_be_kept_is_counted():
    capture = OutputCapture()

    list(capture.follow(events("x" * (MAX_CHARACTERS + 10))))

    assert capture.drain() == "x" * MAX_CHARACTERS + "\n... and 11 characters more\n"
    assert capture.drain() == ""


def test_what_is_printed_beyond_that_takes_no_memory(capsys):
    capture = OutputCapture()

    def spoken():
        for _ in range(100):
            print("x" * MAX_CHARACTERS)
            capsys.readouterr()  # which keeps it, too
        yield 1

    tracemalloc.start()
    list(capture.follow(spoken()))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 10 * MAX_CHARACTERS
    assert capture.drain().endswith(f"... and {99 * MAX_CHARACTERS + 100} characters more\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Talking(Single):
    needs_data: ClassVar[bool] = False
    raises: bool = False

    def train(self, trial, data, report):
        print("begun")
        report(1, {"loss": 1.0})
        print("done")
        if self.raises:
            raise ValueError("poison")
        return {"loss": 0.0}


@pytest.mark.parametrize("raises", [False, True])
def test_a_worker_tells_what_was_said_before_how_the_trial_ended(raises):
    messages = list(compute([Trial(task=Talking(raises=raises), steps=2)], Nothing().load(), threads=1))

    said = [message for message in messages if isinstance(message, str)]
    assert "".join(said) == "begun\ndone\n"
    assert isinstance(messages[-1], Raised) is raises
    assert not isinstance(messages[-1], str)
