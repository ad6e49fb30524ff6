"""An exception becomes data: one line for the screen, the frames of whose code it is, and the whole."""

import json
import pickle
import threading
from dataclasses import dataclass
from importlib import import_module

import pytest

from pipeline.raised import LONGEST_LINE, LONGEST_TRACEBACK, Raised
from pipeline.results.numbers import number
from tasks.datasets.nothing import Nothing
from tasks.losses import Svm
from tasks.single import Single
from tasks.trial import Trial


class OddError(Exception):
    """Can neither be pickled nor shown."""

    def __init__(self):
        self.lock = threading.Lock()

    def __str__(self):
        raise RuntimeError("no words")


def raised(do):
    try:
        do()
    except BaseException as error:  # noqa: BLE001  # an exit too
        return Raised.of(error)


def raises(error):
    raise error


def forever():
    forever()


def test_the_frames_are_those_of_ones_own_code_and_the_last():
    told = raised(lambda: json.loads("{"))

    assert told.error.startswith("JSONDecodeError: Expecting property name")
    files = [line.split('"')[1] for line in told.frames.splitlines() if "File" in line]
    assert [file.rpartition("/")[2] for file in files] == ["test_raised.py", "test_raised.py", "decoder.py"]
    assert 'json.loads("{")' in told.frames
    # and the whole has the library's frames too
    assert "__init__.py" in told.traceback


def test_the_frames_of_a_function_of_ones_own_are_not_those_that_call_it():
    @dataclass(frozen=True, kw_only=True)
    class Wrong(Single):
        def train(self, trial, data, report):
            raise ValueError("no")

    told = raised(lambda: list(Wrong().run([Trial(task=Wrong())], Nothing().load(), threads=1)))

    frames = [line for line in told.frames.splitlines() if "File" in line]
    assert not [frame for frame in frames if "single.py" in frame]
    assert frames[-1].endswith(", in train")
    assert "single.py" in told.traceback


def test_a_loop_that_is_out_of_batches_is_told_by_its_own_frames_though_a_generator_raised_another_error():
    def generator():
        batches = iter([])
        yield next(batches)

    told = raised(lambda: list(generator()))

    assert told.error == "StopIteration"
    assert "yield next(batches)" in told.frames
    assert isinstance(told.exception, RuntimeError)


def test_the_same_error_at_the_same_place_has_the_same_place_whatever_it_says():
    first, second = (raised(lambda seed=seed: raises(ValueError(f"seed {seed}"))) for seed in (1, 2))
    other = raised(lambda: raises(ValueError("seed 1")))

    assert (first.error, second.error) == ("ValueError: seed 1", "ValueError: seed 2")
    assert first.place == second.place != other.place


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (AssertionError(), "AssertionError"),
        (SystemExit(3), "SystemExit: 3 (it asked its process to exit)"),
        (ValueError("\n one\ntwo\nthree"), "ValueError: one (and 2 more lines)"),
        (ValueError("\x1b[2J\x00 ü \u202e\ud800"), r"ValueError: \x1b[2J\x00 ü \u202e\ud800"),
        (OddError(), "OddError: its message cannot be read: RuntimeError"),
    ],
    ids=["nothing", "exit", "lines", "control characters", "no words"],
)
def test_whatever_an_exception_says_is_one_line_that_can_be_shown(error, line):
    told = raised(lambda: raises(error))

    assert told.error == line
    assert "\x1b" not in told.traceback
    told.traceback.encode()


def test_a_password_in_a_message_is_told_nowhere():
    told = raised(lambda: raises(ValueError("no answer from postgresql://ann:s3cret@host/db")))

    assert told.error == "ValueError: no answer from postgresql://***@host/db"
    assert "s3cret" not in told.frames + told.traceback


def test_what_is_huge_is_cut_in_the_middle():
    told = raised(lambda: raises(ValueError("x" * 1_000_000)))

    assert len(told.error) < 2 * LONGEST_LINE
    assert len(told.traceback) < 2 * LONGEST_TRACEBACK
    assert "characters" in told.error


def test_a_recursion_is_a_frame_or_two():
    told = raised(forever)

    assert told.error.startswith("RecursionError: maximum recursion depth exceeded")
    assert told.frames.count("forever()") == 1


def test_as_data_it_crosses_processes_though_its_exception_cannot():
    told = raised(lambda: raises(OddError()))

    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(told)
    assert pickle.loads(pickle.dumps(told.as_data())).error == told.error


def test_the_frames_of_an_import_and_of_a_generated_function_are_not_the_users():
    told = raised(lambda: Svm(margin="wide"))
    imported = raised(lambda: import_module("that_is_not_there"))

    assert "<string>" in told.traceback
    assert "<frozen" in imported.traceback
    assert "<string>" not in told.frames
    assert imported.frames.count("<frozen") == 1, "where it was raised"


def test_where_no_code_is_the_users_the_frames_of_an_error_are_ours():
    with pytest.raises(ValueError, match="could not convert") as found:
        number("x")

    told = Raised.of(found.value.with_traceback(found.value.__traceback__.tb_next))

    assert [line.split('"')[1].rpartition("/")[2] for line in told.frames.splitlines() if "File" in line] == [
        "numbers.py"
    ]
