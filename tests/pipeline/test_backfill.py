"""A sweep on the command line whose tracking server goes away loses nothing: it is told how to write the rest later."""

import json
import re
import shlex
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.backfill.command import main
from pipeline.tracking.connection import connect
from pipeline.tracking.exporter import PATIENCE
from pipeline.tracking.reader import open_reader
from tests.pipeline.commands import Command

pytestmark = pytest.mark.slow

# Two groups of two trials, fifteen segments of steps each.
GRID = ("-m", "dataset=synthetic", "steps=300", "trial.evaluate_every=20", "batch_size=32,64", "seed=1,2")
QUICK = {"EXPORT_EVERY": 0.2, "RETRY_AFTER": 0.2, "LONGEST_PAUSE": 0.2}
EACH = ("engine=inprocess", "tracking.register_model=false")


def start(folder, uri, experiment, *arguments, pause, timing=QUICK):
    notes = folder / "notes"
    notes.mkdir(exist_ok=True)
    where = (f"tracking.uri={uri}", f"tracking.experiment={experiment}")
    program = Path(__file__).with_name("counted.py")
    constants = json.dumps({f"pipeline.tracking.exporter.{name}": seconds for name, seconds in timing.items()})
    paths = {"NOTES": str(notes), "CONSTANTS": constants}
    return Command([program, *GRID, *EACH, *where, *arguments], folder, PAUSE=str(pause), **paths)


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not (found := condition()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def go_on(folder):
    """Let a sweep that has begun come to its end without pauses."""
    (folder / "notes" / "go.part").touch()


def wait_until_open(uri, experiment, process):
    """Wait until the record is open, and so has the run of a trial: trials may be computed before."""
    client = connect(uri, create=False)

    def is_open():
        found = client.get_experiment_by_name(experiment)
        return found is not None and len(client.search_runs([found.experiment_id])) > 1

    wait_for(is_open, process)


def runs(uri, experiment):
    """Return the statuses of the parent runs, and what the runs of the trials hold, by name."""
    client = connect(uri, create=False)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    trials = {}
    for run in found:
        if run not in parents:
            assert run.info.run_name not in trials
            trials[run.info.run_name] = open_reader(uri).trial(run.info.run_id)
    return [parent.info.status for parent in parents], trials


def assert_equal(trials, expected):
    assert trials.keys() == expected.keys()
    for name, trial in trials.items():
        assert trial.status == "FINISHED"
        assert trial.curves.keys() == expected[name].curves.keys()
        for metric, curve in trial.curves.items():
            np.testing.assert_array_equal(curve.steps, expected[name].curves[metric].steps)
            np.testing.assert_array_equal(curve.values, expected[name].curves[metric].values)
        np.testing.assert_array_equal(trial.arrays["weights"], expected[name].arrays["weights"])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, empty_store):
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copy(empty_store, folder)
    uri = f"sqlite:///{folder}/mlflow.db"
    with start(folder, uri, "sweep", pause=0) as process:
        _, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    parents, trials = runs(uri, "sweep")
    assert (parents, len(trials)) == (["FINISHED"], 4)
    return trials


def test_a_server_that_is_away_in_the_middle_of_a_sweep_has_all_of_it_at_the_end(
    tmp_path, proxy, experiment, undisturbed
):
    with start(tmp_path, proxy.uri, experiment, pause=0.1) as process:
        wait_until_open(proxy.uri, experiment, process)
        proxy.fault = "down"
        wait_for(lambda: list((tmp_path / "multirun").rglob("faults.log")), process)
        proxy.fault = None
        go_on(tmp_path)
        out, err = process.communicate(timeout=180)

    assert process.returncode == 0, err
    assert "the store does not answer, and training goes on" in out + err
    assert re.search(r"the store answers again after \d+ s, and has everything", out + err)
    parents, trials = runs(proxy.uri, experiment)
    assert parents == ["FINISHED"]
    assert_equal(trials, undisturbed)


def test_a_server_that_starts_again_while_the_sweep_ends_is_waited_for(tmp_path, proxy, experiment, undisturbed):
    # given the product's own patience, and much less of it where somebody has stopped the sweep
    timing = {**QUICK, "HURRY": 0.5}
    with start(tmp_path, proxy.uri, experiment, pause=0.1, timing=timing) as process:
        wait_until_open(proxy.uri, experiment, process)
        proxy.fault = "down"
        go_on(tmp_path)
        told = next(line for line in process.lines() if f"waiting for the store, at most {PATIENCE:.0f} s" in line)
        time.sleep(3)
        proxy.fault = None
        out, err = process.communicate(timeout=180)

    assert process.returncode == 0, err
    assert "Ctrl-C stops waiting" in told
    assert "the store answers again after " in out
    parents, trials = runs(proxy.uri, experiment)
    assert parents == ["FINISHED"]
    assert_equal(trials, undisturbed)
    # A line when it began, one when it was waited for, one when it was over; and the whole in the log.
    assert len(re.findall("the store[ ,]", out + err)) == 3
    assert "Traceback" not in out + err
    (log,) = tmp_path.rglob("faults.log")
    assert str(log) in out + err
    assert "Traceback" in log.read_text()


def test_who_waits_no_longer_has_a_log_that_a_resume_knows(tmp_path, proxy, experiment, undisturbed):
    # given a sweep whose server was away at its end, and somebody who did not wait for it
    with start(tmp_path, proxy.uri, experiment, pause=0.1, timing={**QUICK, "PATIENCE": 600.0}) as process:
        wait_until_open(proxy.uri, experiment, process)
        proxy.fault = "down"
        go_on(tmp_path)
        next(line for line in process.lines() if "waiting for the store, at most 600 s" in line)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    (log,) = tmp_path.rglob("record-*.log")
    assert process.returncode == 130, err
    assert out.count(f"python -m pipeline.backfill {log}") == 2  # while it waits, and at the end
    assert "sweep.resume=true" in out
    computed = len(list((tmp_path / "notes").iterdir()))

    # when the sweep is resumed once the server is back
    proxy.fault = None
    with start(tmp_path, proxy.uri, experiment, "sweep.resume=true", pause=0) as process:
        out, err = process.communicate(timeout=180)

    # then what the log holds is in the record, and is not computed again
    assert process.returncode == 0, err
    assert f"missing reports were written to the record, from {log}" in out + err
    assert "resumed: 4 trials finished already, 0 to go on from a checkpoint, 0 to start" in out
    assert len(list((tmp_path / "notes").iterdir())) == computed
    parents, trials = runs(proxy.uri, experiment)
    assert parents == ["FINISHED"]
    assert_equal(trials, undisturbed)


def test_what_a_server_lacks_that_is_away_to_the_end_is_written_by_the_line_that_is_printed(
    tmp_path, proxy, experiment, undisturbed, capsys
):
    uri = proxy.uri.replace("://", "://ann:s3cret@")
    with start(tmp_path, uri, experiment, pause=0.1, timing={**QUICK, "PATIENCE": 1.0}) as process:
        wait_until_open(proxy.uri, experiment, process)
        proxy.fault = "down"
        go_on(tmp_path)
        out, err = process.communicate(timeout=180)

    # then the sweep has gone on to its end, and the last line says what to do
    assert process.returncode == 2
    assert "4/4 trials" in out
    line = re.search(r"python -m pipeline\.backfill (.*) --tracking-uri URI$", err.strip())
    (log,) = shlex.split(line[1])
    assert "s3cret" not in out + err
    assert b"s3cret" not in Path(log).read_bytes()

    # while the server is away, and without its password, there is one message
    assert main([log]) == 2
    assert main([log, "--tracking-uri", uri]) == 2
    told = capsys.readouterr().err
    assert re.fullmatch(
        r"error: --tracking-uri must be given: .*\n(.*\n)*error: tracking\.uri must be a store .*\n", told
    )
    assert "s3cret" not in told

    # and once it is back, the record is as if nothing had been
    proxy.fault = None
    assert main([log, "--tracking-uri", uri]) == 0
    told = capsys.readouterr().out
    assert "missing reports were written to the record\n" in told
    assert "s3cret" not in told
    parents, trials = runs(proxy.uri, experiment)
    assert parents == ["FINISHED"]
    assert_equal(trials, undisturbed)
    assert main([log, "--tracking-uri", uri]) == 0
    assert capsys.readouterr().out.startswith("0 missing reports were written")


def test_a_store_that_was_deleted_is_written_again_from_the_log(tmp_path, empty_store, undisturbed, capsys):
    shutil.copy(empty_store, tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with start(tmp_path, uri, "sweep", pause=0) as process:
        _, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    (log,) = tmp_path.rglob("record-*.log")
    (tmp_path / "mlflow.db").unlink()
    shutil.rmtree(tmp_path / "mlruns")

    assert main([str(log)]) == 0

    assert "missing reports were written to the record\n" in capsys.readouterr().out
    parents, trials = runs(uri, "sweep")
    assert parents == ["FINISHED"]
    assert_equal(trials, undisturbed)
    # and a resume knows it
    with start(tmp_path, uri, "sweep", "sweep.resume=true", pause=0) as process:
        out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    assert "resumed: 4 trials finished already" in out
