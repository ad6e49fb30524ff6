"""A sweep on the command line whose tracking server goes away loses nothing: it is told how to write the rest later."""

import json
import re
import shlex
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.backfill import main
from pipeline.recorder.reading import read_run
from pipeline.recorder.store import connect
from tests.pipeline.commands import Command

pytestmark = pytest.mark.slow

# Two groups of two trials, fifteen stretches of steps each.
GRID = ("-m", "dataset=synthetic", "steps=300", "trial.evaluate_every=20", "batch_size=32,64", "seed=1,2")
DELIVERY = {"JOURNAL_AFTER": 0.5, "RETRY_SECONDS": 0.2, "LONGEST_PAUSE": 0.2, "PATIENCE": 1.0}
CONSTANTS = json.dumps({f"pipeline.recorder.delivery.{name}": value for name, value in DELIVERY.items()})
EACH = ("engine=inprocess", "tracking.register_model=false")


def start(folder, uri, experiment, *, pause):
    notes = folder / "notes"
    notes.mkdir()
    where = (f"tracking.uri={uri}", f"tracking.experiment={experiment}")
    program = Path(__file__).with_name("counted.py")
    times = {"PAUSE": str(pause), "CONSTANTS": CONSTANTS}
    return Command([program, *GRID, *EACH, *where], folder, NOTES=str(notes), **times)


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not (found := condition()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def is_open(uri, experiment):
    """Return whether the record is open, and so has the run of a trial: trials may be computed before."""
    client = connect(uri, create=False)
    found = client.get_experiment_by_name(experiment)
    return found is not None and len(client.search_runs([found.experiment_id])) > 1


def runs(uri, experiment):
    """Return the statuses of the parent runs, and what the runs of the trials hold, by name."""
    client = connect(uri, create=False)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    trials = {}
    for run in found:
        if run not in parents:
            assert run.info.run_name not in trials
            trials[run.info.run_name] = read_run(uri, run.info.run_id)
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
        wait_for(lambda: is_open(proxy.uri, experiment), process)
        proxy.fault = "down"
        wait_for(lambda: list((tmp_path / "multirun").rglob("record-*.journal")), process)
        proxy.fault = None
        out, err = process.communicate(timeout=180)

    assert process.returncode == 0, err
    assert "the store does not answer, and training goes on" in out + err
    assert "the store answers again, and has everything" in out + err
    assert list(tmp_path.rglob("record-*.journal")) == []
    parents, trials = runs(proxy.uri, experiment)
    assert parents == ["FINISHED"]
    assert_equal(trials, undisturbed)


def test_what_a_server_lacks_that_is_away_to_the_end_is_written_by_the_line_that_is_printed(
    tmp_path, proxy, experiment, undisturbed, capsys
):
    uri = proxy.uri.replace("://", "://ann:s3cret@")
    with start(tmp_path, uri, experiment, pause=0.1) as process:
        wait_for(lambda: is_open(proxy.uri, experiment), process)
        proxy.fault = "down"
        out, err = process.communicate(timeout=180)

    # then the sweep has gone on to its end, and the last line says what to do
    assert process.returncode == 2
    assert "4/4 trials" in out
    line = re.search(r"python -m pipeline\.backfill (.*) --tracking-uri URI$", err.strip())
    (journal,) = shlex.split(line[1])
    assert "s3cret" not in out + err
    assert b"s3cret" not in Path(journal).read_bytes()

    # while the server is away, and without its password, there is one message
    assert main([journal]) == 2
    assert main([journal, "--tracking-uri", uri]) == 2
    told = capsys.readouterr().err
    assert re.fullmatch(
        r"error: --tracking-uri must be given: .*\n(.*\n)*error: tracking\.uri must be a store .*\n", told
    )
    assert "s3cret" not in told

    # and once it is back, the record is as if nothing had been
    proxy.fault = None
    assert main([journal, "--tracking-uri", uri]) == 0
    told = capsys.readouterr().out
    assert "writes are in the record\n" in told
    assert "s3cret" not in told
    assert not Path(journal).exists()
    parents, trials = runs(proxy.uri, experiment)
    assert parents == ["FINISHED"]
    assert_equal(trials, undisturbed)
    assert main([journal, "--tracking-uri", uri]) == 2
