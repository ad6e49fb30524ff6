"""A live sweep outlives a batch of points: Hydra's other sweepers, which launch several, get one sweep."""

import os
import signal
import threading
import time

import pytest

from pipeline.config.schema import parse
from pipeline.display.console import Display
from pipeline.engine.inprocess import InProcess
from pipeline.errors import EngineError, Interrupted
from pipeline.plan.plan import Point
from pipeline.reports import Finished, Progressed
from pipeline.sweep.live import LiveSweep
from pipeline.sweep.opening import Record
from pipeline.sweep.source import Grid
from pipeline.tracking.connection import connect
from tests.pipeline import commands
from tests.pipeline.disturbed import Sweep, assert_equal

pytestmark = pytest.mark.slow

# Two trials a batch, of the four of the grid.
BATCHES = ("hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2")
HERE = ("engine=inprocess",)


def test_batches_of_another_sweeper_are_one_sweep_on_one_cluster(tmp_path, empty_store, undisturbed, cluster):
    sweep = Sweep(tmp_path, empty_store, pause=0)
    code, out, err = sweep.run(*BATCHES, f"cluster.address={cluster}", "cluster.workers=2")

    assert code == 0, err
    assert out.count("mlflow ui --backend-store-uri") == 1
    parents, _ = sweep.statuses()
    assert parents == ["FINISHED"]
    assert_equal(sweep.results(), undisturbed)
    # job numbers go on, and the processes of the workers serve both batches
    (folder,) = {file.parent.parent for file in tmp_path.rglob("overrides.yaml") if file.parent.parent.name == "3"}
    assert {path.name for path in folder.parent.iterdir() if path.name.isdigit()} == {"0", "1", "2", "3"}
    assert len({process for process, *_ in sweep.attempts()}) <= 2


def test_batches_that_are_killed_are_resumed_as_one_sweep(tmp_path, empty_store, undisturbed):
    sweep = Sweep(tmp_path, empty_store)
    process = sweep.kill(*HERE, *BATCHES, after=1.0)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    code, out, err = sweep.resume(*HERE, *BATCHES)

    assert code == 0, err
    assert "resumed: " in out
    parents, trials = sweep.statuses()
    assert parents == ["FINISHED"]
    assert [statuses.count("FINISHED") for statuses in trials.values()] == [1, 1, 1, 1]
    assert_equal(sweep.results(), undisturbed)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("sweep.name=the-${batch_size}", "sweep.name must be the same in all trials of a sweep, got 'the-32' and"),
        ("+hydra.job.env_set.SIZE='${batch_size}'", "hydra.job.env_set.SIZE must be the same in all trials"),
    ],
)
def test_a_batch_that_cannot_join_the_sweep_ends_it(tmp_path, empty_store, argument, message):
    sweep = Sweep(tmp_path, empty_store, pause=0)
    code, _, err = sweep.run(*HERE, *BATCHES, argument)

    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: {message}")
    assert sweep.statuses()[0] == ["FAILED"]


def test_it_is_said_of_which_trials_no_stopping_rule_applies(tmp_path):
    arguments = ["stopping=halving", "task=train,landscape", "dataset=synthetic", "steps=200", "sweep.dry_run=true"]
    done = commands.run(["-m", "pipeline", "-m", *arguments], tmp_path)

    assert done.returncode == 0, done.stderr
    assert "stopping=halving compares trainings: trials of task=landscape run to their end" in done.stdout
    assert "stopping: 1 to step 100, 1 to step 200" in done.stdout


def test_a_source_learns_how_many_workers_the_engine_has(tmp_path, store_uri, experiment, monkeypatch):
    class Source(Grid):
        def scale_to(self, workers):
            self.workers = workers

    monkeypatch.setattr(InProcess, "size", 7)  # as many as a cluster that was joined may have
    tracking = {"uri": store_uri, "experiment": experiment}
    config = parse({"dataset": {"name": "synthetic"}, "steps": 5, "tracking": tracking})
    source = Source([Point(index=0, overrides=(), config=config)])

    with LiveSweep(config, overrides=None, folder=tmp_path) as live:
        live.run(source)

    assert source.workers == 7


def test_points_are_asked_for_as_soon_as_workers_join(tmp_path, store_uri, experiment, monkeypatch):
    # given a source that proposes a point at a time, and a cluster that has grown by the first point of a curve
    class Source(Grid):
        def more(self, room):
            point, *self._points = self._points
            self.done = not self._points
            asked.append(list(ended))
            return [point]

    asked, ended, process = [], [], LiveSweep._process

    def grow(live, report):
        process(live, report)
        if isinstance(report, Progressed):
            monkeypatch.setattr(InProcess, "size", 2)
        elif isinstance(report, Finished):
            ended.append(report.trial.index)

    monkeypatch.setattr(LiveSweep, "_process", grow)
    tracking = {"uri": store_uri, "experiment": experiment}
    values = {"dataset": {"name": "synthetic"}, "steps": 5, "engine": "inprocess", "tracking": tracking}
    points = [Point(index=seed, overrides=(), config=parse(values | {"seed": seed})) for seed in range(2)]

    with LiveSweep(points[0].config, overrides=(), folder=tmp_path) as live:
        live.run(Source(points))

    # then the second is asked for before the first has ended
    assert asked == [[], []]


@pytest.mark.parametrize(
    ("rule", "submitted"),
    [
        # the best of four goes on once all are there
        ("halving", [([10, 10, 10, 10], False), ([None], True)]),
        # the best of the first three goes on before the last is there, which is worse: that is the last decision
        ("asha", [([10, 10, 10, 10], False), ([None], False), ([], True)]),
    ],
)
def test_idle_workers_are_let_go_once_nothing_is_left_to_decide(
    tmp_path, store_uri, experiment, monkeypatch, rule, submitted
):
    told, submit = [], InProcess.submit

    def noted(engine, groups, *, last):
        told.append(([group.until for group in groups], last))
        submit(engine, groups, last=last)

    monkeypatch.setattr(InProcess, "submit", noted)
    monkeypatch.setattr(InProcess, "size", 4)
    stopping = {"name": rule, "min_steps": 10, "max_steps": 20, "reduction_factor": 4 if rule == "halving" else 3}
    values = {"dataset": {"name": "synthetic"}, "steps": 40, "trial": {"evaluate_every": 10}, "stopping": stopping}
    values |= {"engine": "inprocess", "tracking": {"uri": store_uri, "experiment": experiment}}
    configs = [parse(values | {"learning_rate": rate}) for rate in (0.1, 0.03, 0.01, 1e-9)]

    with LiveSweep(configs[0], overrides=(), folder=tmp_path) as live:
        live.run(Grid([Point(index=index, overrides=(), config=config) for index, config in enumerate(configs)]))

    assert told == submitted


def test_a_sweep_that_its_engine_refuses_ends_after_what_is_done_beside(tmp_path, store_uri, experiment, monkeypatch):
    refusing, ended = threading.Event(), []

    def refuse(_):
        refusing.set()
        raise EngineError("no room")

    def meanwhile():  # writes the folders of the jobs, which are removed once the sweep has ended
        refusing.wait(timeout=10)
        time.sleep(0.2)
        ended.append(True)

    monkeypatch.setattr(InProcess, "__enter__", refuse)
    tracking = {"uri": store_uri, "experiment": experiment}
    config = parse({"dataset": {"name": "synthetic"}, "engine": "inprocess", "tracking": tracking})

    with pytest.raises(EngineError), LiveSweep(config, overrides=(), folder=tmp_path) as live:
        live.run(Grid([Point(index=0, overrides=(), config=config)]), meanwhile=meanwhile)

    assert ended


@pytest.mark.parametrize("place", [Display.__enter__, Record.__init__], ids=["before", "between"])
def test_a_signal_as_the_record_opens_leaves_no_run_that_is_never_ended(
    tmp_path, store_uri, experiment, monkeypatch, place
):
    # given a signal that comes before anything opens, as the progress is first shown, or before anything can close it
    def stopped(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return place(*arguments)

    owner = {Display.__enter__: Display, Record.__init__: Record}[place]
    monkeypatch.setattr(owner, place.__name__, stopped)
    tracking = {"uri": store_uri, "experiment": experiment}
    config = parse({"dataset": {"name": "synthetic"}, "engine": "inprocess", "tracking": tracking})

    with pytest.raises(Interrupted), LiveSweep(config, overrides=(), folder=tmp_path) as live:
        live.run(Grid([Point(index=0, overrides=(), config=config)]))
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(timeout=10)

    client = connect(store_uri, create=False)
    for own in client.search_experiments(filter_string=f"name = '{experiment}'"):  # other tests share the store
        assert client.search_runs([own.experiment_id], "status = 'RUNNING'") == []
