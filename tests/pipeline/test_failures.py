"""Failures are told by what failed: once, with the frames, where the whole is, and how to run one again."""

import logging
import shlex
import threading
from pathlib import Path

import pytest

from pipeline.raised import Raised
from pipeline.reports import Failed
from pipeline.results.failures import Failures, rerun_command
from pipeline.results.fault_log import NAME, FaultLog, Quiet
from tests.pipeline.commands import run


def failed(trial, line, *, at="here"):
    raised = Raised(error=line, traceback=f"Traceback of {line}", frames=f'  File "{at}", line 1, in f\n', place=at)
    return Failed(trial=trial, error=line, traceback=raised.traceback, raised=raised)


def test_trials_that_raise_at_one_place_are_told_of_together(tmp_path, trial):
    failures = Failures(range(9), FaultLog(tmp_path))
    fresh = [failures.add(failed(trial(f"t{number}"), f"ValueError: {number}")) for number in range(5)]
    fresh.append(failures.add(failed(trial("other"), "KeyError: 1", at="there")))

    assert fresh == [True, False, False, False, False, True]
    error = failures.error()
    assert str(error).splitlines()[:3] == [
        "5 of 9 trials failed: ValueError: 0",
        '  File "here", line 1, in f',
        "  trials: t0, t1, t2 and 2 more",
    ]
    assert "1 of 9 trials failed: KeyError: 1" in str(error)
    assert f"in full: {tmp_path / NAME} and traceback.txt" in str(error)
    # the log holds each kind once, and so do the notes that HYDRA_FULL_ERROR=1 shows
    log = (tmp_path / NAME).read_text()
    assert (log.count("Traceback of ValueError"), log.count("Traceback of KeyError")) == (1, 1)
    assert [note.splitlines()[1] for note in error.__notes__] == [
        "Traceback of ValueError: 0",
        "Traceback of KeyError: 1",
    ]


def test_a_lone_trial_is_told_of_at_the_end_only_and_its_exception_is_the_cause(tmp_path, trial):
    failures, exception = Failures(range(1), FaultLog(tmp_path)), ValueError("no")
    raised = Raised(error="ValueError: no", traceback="Traceback", place="here", exception=exception)

    assert not failures.add(Failed(trial=trial("alone"), error=raised.error, traceback="Traceback", raised=raised))

    error = failures.error()
    assert str(error).startswith("the trial failed: ValueError: no\n")
    assert "trials:" not in str(error)
    assert error.__cause__ is exception


def test_trials_that_raised_nothing_are_told_of_by_their_errors_whatever_characters_these_have(tmp_path, trial):
    failures = Failures(range(2), FaultLog(tmp_path))

    fresh = [failures.add(Failed(trial=trial(), error=error, traceback="")) for error in ("killed", "lost \udcff")]

    assert fresh == [True, True]
    assert str(failures.error()).count("1 of 2 trials failed") == 2
    assert "lost \\udcff" in (tmp_path / NAME).read_text()


def test_a_lone_trial_that_raised_nothing_has_no_cause(tmp_path, trial):
    failures = Failures(range(1), FaultLog(tmp_path))
    assert str(failures.error()) == "a trial has not finished"

    failures.add(Failed(trial=trial(), error="killed", traceback=""))

    assert (str(failures.error()), failures.error().__cause__) == ("the trial failed: killed", None)


def test_a_log_that_cannot_be_written_is_not_named(tmp_path, trial):
    failures = Failures(range(2), FaultLog(Path(tmp_path, "nowhere")))
    failures.add(failed(trial("a"), "ValueError: no"))

    assert NAME not in str(failures.error())
    assert "in full: traceback.txt in the record of each" in str(failures.error())


def test_what_a_library_warns_of_in_this_thread_is_in_the_log_once_and_shown_after_the_context_only(tmp_path, caplog):
    library, own = logging.getLogger("urllib3"), logging.getLogger("pipeline.quiet")
    other = threading.Thread(target=library.warning, args=("of another thread",))

    with Quiet(FaultLog(tmp_path)):
        for _ in range(2):
            library.warning("unreachable")
        own.warning("our own")
        other.start()
        other.join()
    library.warning("later")

    assert caplog.messages == ["our own", "of another thread", "later"]
    assert [line.split(" ", 1)[1] for line in (tmp_path / NAME).read_text().splitlines()] == ["urllib3: unreachable"]


def test_the_command_runs_the_trial_in_its_own_process(trial):
    planned = trial("a", steps=5)
    object.__setattr__(planned, "overrides", ("engine=ray", "cluster.workers=2", "+x='a b'", "seed=3", "sweep.name=s"))

    variable, *command = shlex.split(rerun_command(planned))

    assert variable == "HYDRA_FULL_ERROR=1"
    assert command[command.index("pipeline") + 1 :] == ["+x='a b'", "seed=3", "engine=inprocess"]


PROGRAM = """
import os, signal
from tasks.studies.registry import TASKS
from tasks.studies.train import Train

class Mine(Train):
    def run(self, trials, dataset, **options):
        yield from ()
        {how}

TASKS["train"] = Mine
from pipeline.cli.app import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code", "last", "lines"),
    [
        ("raise ValueError('mine')", 1, "ValueError: mine", {"Traceback (most recent call last):"}),
        ("os.kill(os.getpid(), signal.SIGSEGV)", -11, "", {"Fatal Python error: Segmentation fault"}),
    ],
    ids=["raises", "crashes"],
)
def test_everything_is_shown_of_a_lone_trial_to_who_asks(tmp_path, how, code, last, lines):
    program = tmp_path / "mine.py"
    program.write_text(PROGRAM.format(how=how))

    done = run([program, "dataset=synthetic", "steps=20"], tmp_path, HYDRA_FULL_ERROR="1")

    assert done.returncode == code
    assert lines <= set(done.stderr.splitlines())
    assert last in done.stderr.splitlines()[-1]
    # The trial's own error is what is raised, and its own frame the last: there a debugger stands.
    assert f'{program}", line 9' in done.stderr
    assert "TrialsFailedError" not in done.stderr
