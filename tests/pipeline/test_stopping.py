"""Sweeps that stop trials: the same bits as undisturbed trials, decided alike by any workers and after any kill."""

import json
import signal
import time

import numpy as np
import pytest

from tests.pipeline import commands
from tests.pipeline.disturbed import STEPS, Sweep, assert_equal
from tests.pipeline.record.recording import logged

pytestmark = pytest.mark.slow

RATES = "learning_rate=1e-4,1e-3,1e-2,1e-1,1e30"  # the last diverges at once
HALVING = (RATES, "stopping=halving", "stopping.min_steps=20", "stopping.reduction_factor=2")
ASHA = (RATES, "stopping=asha", "stopping.min_steps=20", "stopping.reduction_factor=2")
HERE = ("engine=inprocess",)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, empty_store):
    """What the same trials are that nobody stops."""
    sweep = Sweep(tmp_path_factory.mktemp("undisturbed"), empty_store, pause=0, TRAINS="1")
    code, _, err = sweep.run(*HERE, RATES)
    assert code == 0, err
    return sweep.results()


@pytest.fixture(scope="module")
def halved(tmp_path_factory, empty_store):
    """A halving in one process that nothing disturbs."""
    few = json.dumps({"pipeline.figures.drawings.DRAWN_TRIALS": 0})  # the figures of the sweep and its winner will do
    sweep = Sweep(tmp_path_factory.mktemp("halved"), empty_store, pause=0, TRAINS="1", FIGURES="1", CONSTANTS=few)
    code, _, err = sweep.run(*HERE, *HALVING)
    assert code == 0, err
    return sweep


def ends(sweep):
    """Return how each trial ended, and at which step, by its key."""
    tags = "SELECT k.value, o.value, s.value FROM tags k JOIN tags o USING (run_uuid) JOIN tags s USING (run_uuid)"
    keys = "k.key = 'key' AND o.key = 'outcome' AND s.key = 'outcome.step'"
    return {key: (outcome, int(step)) for key, outcome, step in sweep.query(f"{tags} WHERE {keys}") if step}


def decisions(sweep):
    """Return the decisions of a sweep, as they stand in its log."""
    return [one["decision"] for one in logged(sweep.folder, "Decided")]


def rungs(sweep):
    """Return what the record says of the decisions: how many came to each rung and went on, and the whole table."""
    ((tag,),) = sweep.query("SELECT value FROM tags WHERE key = 'rungs'")
    (table,) = sweep.folder.rglob("rungs.csv")
    return tag, table.read_text()


def assert_beginnings(results, whole, how):
    """Assert that stopped trials are the beginnings of undisturbed ones, bit for bit, and others are they."""
    assert results.keys() == whole.keys()
    for key, (points, arrays) in results.items():
        outcome, step = how[key]
        assert set(points) == {point for point in whole[key][0] if point[1] <= step and not _of_the_end(point, outcome)}
        if outcome != "stopped early":
            for name, array in arrays.items():
                np.testing.assert_array_equal(array, whole[key][1][name])


def _of_the_end(point, outcome):
    return outcome == "stopped early" and point[0].startswith("test/")


def test_halving_stops_trials_at_rungs_and_those_that_go_on_lose_no_bit(halved, undisturbed):
    how = ends(halved)

    assert len(how) == 20
    stops = sorted(step for outcome, step in how.values() if outcome == "stopped early")
    # Ten settings, of two seeds each, at the first rung, of which five go on, 3, 2, 1; those that diverge never do.
    assert stops == [20] * 6 + [40] * 4 + [80] * 2 + [160] * 2
    others = sorted(outcome for outcome, _ in how.values() if outcome != "stopped early")
    assert others == ["complete"] * 2 + ["diverged"] * 4
    assert_beginnings(halved.results(), undisturbed, how)


def test_halving_decides_alike_whatever_the_number_of_workers(tmp_path, empty_store, halved, cluster):
    sweep = Sweep(tmp_path, empty_store, pause=0, TRAINS="1")
    code, _, err = sweep.run(*HALVING, f"cluster.address={cluster}", "cluster.workers=3")

    assert code == 0, err
    assert ends(sweep) == ends(halved)
    assert_equal(sweep.results(), halved.results())


def killed_at(sweep, count, *arguments):
    """Start, and kill the driver once so many decisions have been made."""
    process = sweep.start(*arguments)
    while len(decisions(sweep)) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return len(decisions(sweep))


def test_a_halving_that_is_killed_at_each_rung_and_resumed_is_as_if_nothing_had_been(tmp_path, empty_store, halved):
    sweep, made = Sweep(tmp_path, empty_store, pause=0.02, TRAINS="1"), 0
    while made < 4:
        resume = ["sweep.resume=true"] if made else []
        made = killed_at(sweep, made + 1, *HERE, *HALVING, *resume)
    code, out, err = sweep.resume(*HERE, *HALVING)

    assert code == 0, err
    assert "resumed: " in out
    parents, trials = sweep.statuses()
    assert parents == ["FINISHED"]
    assert all(statuses.count("FINISHED") == 1 for statuses in trials.values())
    assert ends(sweep) == ends(halved)
    assert rungs(sweep) == rungs(halved)
    assert_equal(sweep.results(), halved.results())


def test_the_decisions_of_a_halving_whose_log_is_lost_are_made_alike_from_the_store(tmp_path, empty_store, halved):
    sweep = Sweep(tmp_path, empty_store, pause=0, TRAINS="1")
    sweep.run(*HERE, *HALVING)
    (log,) = tmp_path.rglob("record-*.log")
    log.unlink()

    code, _, err = sweep.resume(*HERE, *HALVING)

    assert code == 0, err
    assert ends(sweep) == ends(halved)
    assert rungs(sweep) == rungs(halved)


def test_asha_promotes_paused_trials_trains_none_twice_and_ends(tmp_path, empty_store, undisturbed, cluster):
    sweep = Sweep(tmp_path, empty_store, pause=0, TRAINS="1")
    code, _, err = sweep.run(*ASHA, f"cluster.address={cluster}", "cluster.workers=2")

    assert code == 0, err
    how = ends(sweep)
    assert len(how) == 20
    assert any(outcome == "complete" for outcome, _ in how.values())
    assert_beginnings(sweep.results(), undisturbed, how)
    # every step of every trial was computed once; those that diverge at once count for their group's first stretch
    assert sweep.work() == sum(20 if outcome == "diverged" else step for outcome, step in how.values())


def test_an_asha_that_is_killed_goes_on_from_its_decisions_and_contradicts_none(tmp_path, empty_store, undisturbed):
    sweep = Sweep(tmp_path, empty_store, pause=0.02, TRAINS="1")
    killed_at(sweep, 2, *HERE, *ASHA)
    before = decisions(sweep)
    killed_at(sweep, len(before) + 1, *HERE, *ASHA, "sweep.resume=true")
    assert decisions(sweep)[: len(before)] == before
    code, out, err = sweep.resume(*HERE, *ASHA)

    assert code == 0, err
    assert "resumed: " in out
    how = ends(sweep)
    assert len(how) == 20
    assert_beginnings(sweep.results(), undisturbed, how)
    passed = [(name, one["step"]) for one in before for name in one["passed"]]
    assert len(passed) == len(set(passed))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("stopping.min_steps=30",), "stopping.min_steps must make rungs at which val/accuracy is measured"),
        (("stopping.max_steps=800",), f"stopping.max_steps must be at most the {STEPS} steps of a trial, got 800"),
        (("stopping.min_steps=4000",), f"stopping.min_steps must be below the {STEPS} steps of a trial, got 4000"),
    ],
)
def test_rungs_that_cannot_be_are_one_message_and_nothing_is_recorded(tmp_path, empty_store, arguments, message):
    sweep = Sweep(tmp_path, empty_store, pause=0, TRAINS="1")
    code, _, err = sweep.run(*HERE, "stopping=halving", *arguments)

    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: {message}")
    assert sweep.query("SELECT * FROM runs") == []


def test_a_halving_is_reproduced_each_trial_as_far_as_it_came(halved):
    ((parent,),) = halved.query("SELECT run_uuid FROM tags WHERE key = 'rungs'")

    done = commands.run(["-m", "pipeline.reproduce", parent, "--tracking-uri", "sqlite:///mlflow.db"], halved.folder)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "verdict: bit for bit equal; of 20 trials 20 bit for bit equal"


def test_decisions_are_in_the_record(halved):
    tag, table = rungs(halved)

    assert tag == "20: 5 of 10, 40: 3 of 5, 80: 2 of 3, 160: 1 of 2, 320: 1 of 1"
    assert len(table.splitlines()) == 1 + 10 + 5 + 3 + 2 + 1
    assert list(halved.folder.rglob("rungs.png"))
