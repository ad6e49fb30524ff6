import time
from dataclasses import replace

import psutil
import pytest

from pipeline.config.schema import Cluster
from pipeline.engine.protocol import run
from pipeline.errors import EngineError
from pipeline.plan.plan import Group, make_plan
from pipeline.reports import Checkpointed, Failed, Finished
from tests.clusters import LEAN, start_cluster

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

STORE = 80_000_000
"""Bytes of each node's object store: the least that Ray allows."""

NOTICING = {"health_check_period_ms": 500}
"""Ray takes a node for dead that has not answered five times, by default every three seconds."""


class Nodes:
    """A Ray cluster whose head has no CPUs, and whose nodes come and go."""

    def __init__(self):
        self.cluster = start_cluster(num_cpus=0, object_store_memory=STORE, _system_config=NOTICING)
        self.running = []
        self.equipped = None

    def add(self, *, wait=True, **has):
        given = LEAN | {"num_cpus": 1, "object_store_memory": STORE} | has
        node = self.cluster.add_node(wait=wait, **given)
        self.running.append(node)
        return node

    def equip(self):
        """Have a node that says it has a GPU, a resource of its own and a label, whatever has been removed before."""
        if self.equipped not in self.running:
            self.equipped = self.add(num_gpus=1, resources={"press": 1}, labels={"zone": "north"})

    def remove(self):
        self.cluster.remove_node(self.running.pop(0), allow_graceful=False)

    def resize(self, count):
        while len(self.running) > count:
            self.remove()
        while len(self.running) < count:
            self.add(wait=False)  # they start side by side
        self.cluster.wait_for_nodes()


@pytest.fixture(scope="module")
def nodes():
    nodes = Nodes()
    nodes.equip()
    yield nodes
    nodes.cluster.shutdown()


@pytest.fixture
def engine_of(nodes):
    """Return a maker of engines on the cluster of nodes; without ``workers`` they follow what it has."""
    from pipeline.engine.ray_engine import RayEngine

    def make(planned=1, options=None, **asked):
        where = Cluster(address=nodes.cluster.address, **asked)
        return RayEngine(where, workers=planned, device="cpu", attempts=3, **(options or {}))

    return make


def families(computing, count, *batch_sizes, **values):
    """Return so many points of each batch size, which cannot be computed together."""
    points = [point for size in batch_sizes for point in computing.planned(count, batch_size=size, **values)]
    return [replace(point, index=index) for index, point in enumerate(points)]


def test_one_process_with_its_share_of_a_gpu_computes_group_after_group(computing, engine_of, nodes, tmp_path):
    # given three groups, and a node that says it has a GPU, a resource of its own and a label
    nodes.equip()
    points = families(computing, 2, 16, 32, 64)
    groups = computing.groups_of(points, task=computing.Telling(folder=str(tmp_path)), workers=1)
    asked = {"gpus_per_worker": 0.5, "resources": {"press": 0.5}, "labels": {"zone": "in(north, south)"}}
    assert len(groups) == 3

    # when one worker computes them
    computing.outcomes(engine_of(workers=1, cpus_per_worker=0.5, **asked), groups)

    # then it is one process, so that CUDA is started once, on that node
    told = computing.told(tmp_path)
    assert len(told) == 3
    assert len({group["process"] for group in told}) == 1
    assert told[0]["labels"]["zone"] == "north"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"gpus_per_worker": 2}, "cluster.gpus_per_worker must be at most what a node of the cluster has, got 2"),
        ({"resources": {"tpu": 1}}, "cluster.resources.tpu must be at most what a node of the cluster has, got 1"),
        ({"labels": {"zone": "south"}}, "cluster.labels.zone must be a label of a node of the cluster, got 'south'"),
    ],
)
def test_what_no_node_has_is_refused_with_what_the_cluster_has(engine_of, nodes, asked, message):
    nodes.equip()

    with pytest.raises(EngineError) as error:
        engine_of(**asked).__enter__()

    assert message in str(error.value)
    assert "1 x 1 CPUs and 1 GPUs, 1 press (labels zone=north)" in str(error.value)


def test_a_sweep_is_planned_for_all_nodes_of_a_cluster_from_its_start(engine_of, nodes):
    nodes.resize(2)

    with engine_of(planned=1) as engine:
        assert engine.size == 2
    nodes.resize(1)
    nodes.cluster.wait_for_nodes()


def test_groups_that_wait_are_cut_for_a_node_that_joins_and_a_node_that_leaves_is_made_up_for(
    computing, engine_of, nodes, tmp_path, monkeypatch
):
    # given a sweep planned for one worker, in two groups, the first of which waits when half of it is done
    monkeypatch.setattr("tasks.cost.STEP_COST", 0)  # of so small data groups would not be cut
    nodes.resize(1)
    points = families(computing, 6, 60, 64, steps=200)
    task = computing.Disturbed(folder=str(tmp_path), pause=0.05, culprit=0, how="wait", step=100, between=0.5)
    groups = computing.groups_of(points, task=task, workers=1)
    assert len(groups) == 2

    def come_and_go(report):
        processes = {at for at, *_ in computing.attempts(tmp_path)}
        if isinstance(report, Checkpointed) and len(nodes.running) == 1:
            nodes.add()
            nodes.add()
        elif len(processes) == 3 and len(nodes.running) == 3:
            nodes.remove()
            (tmp_path / "go.part").touch()

    # when two nodes join meanwhile, and then the first leaves
    curves, results, failures = computing.outcomes(engine_of(options={"checkpoint_every": 20}), groups, come_and_go)

    # then the other group is halved for them, the first goes on from its checkpoint, and all bits are the same
    assert failures == {}
    assert set(results) == set(range(12))
    computing.assert_same_bits(curves, results, computing.undisturbed(points))
    attempts = computing.attempts(tmp_path)
    assert sorted((first > 0, len(seeds)) for _, first, _, seeds in attempts)[:3] == [
        (False, 3),
        (False, 3),
        (False, 6),
    ]
    assert {first > 0 for _, first, _, seeds in attempts[3:]} == {True}


def test_a_group_that_has_started_is_halved_for_a_node_that_joins(computing, engine_of, nodes, tmp_path, monkeypatch):
    # given a sweep of one group, of which a second saved is worth a process
    monkeypatch.setattr("pipeline.engine.splitting.MIN_SAVED_SECONDS", 1.0)
    monkeypatch.setattr("tasks.cost.STEP_COST", 0)
    engine = engine_of(options={"checkpoint_every": 20})
    points = families(computing, 6, 60, steps=600)
    task = computing.Disturbed(folder=str(tmp_path), pause=0.03, between=0.5)
    groups = computing.groups_of(points, task=task, workers=1)
    assert len(groups) == 1
    nodes.resize(1)
    nodes.cluster.wait_for_nodes()  # Ray notices later that one is gone

    def join(report):
        if isinstance(report, Checkpointed) and len(nodes.running) == 1:
            nodes.add()

    # when a node joins after its first checkpoint
    curves, results, failures = computing.outcomes(engine, groups, join)

    # then two processes go on with half of the trials each, and all bits are the same
    assert failures == {}
    assert set(results) == set(range(6))
    computing.assert_same_bits(curves, results, computing.undisturbed(points))
    whole, *halves = computing.attempts(tmp_path)
    assert (whole[1], whole[3]) == (0, (0, 1, 2, 3, 4, 5))
    assert sorted(seeds for *_, seeds in halves) == [(0, 1, 2), (3, 4, 5)]
    assert all(first > 0 for _, first, *_ in halves)
    assert len({process for process, *_ in halves} - {whole[0]}) == 2


def test_ten_thousand_trials_leave_nothing_behind_in_the_driver(computing, engine_of):
    # given ten thousand short trials in fused groups
    (first,) = make_plan(computing.planned(1, steps=5), computing.DATASET).trials
    trials = [
        replace(first, index=seed, key=str(seed), trial=replace(first.trial, seed=seed)) for seed in range(10_000)
    ]
    groups = [Group(trials=tuple(trials[at : at + 100])) for at in range(0, 10_000, 100)]

    # when they are computed
    ended, memory = 0, []
    with engine_of(workers=2) as engine:
        for report in run(engine, groups, computing.DATASET):
            if type(report).__name__ == "Finished":
                ended += 1
                if ended % 1000 == 0:
                    memory.append(psutil.Process().memory_info().rss)

    # then the driver holds no more after the last than after the second thousand
    assert ended == 10_000
    assert memory[-1] - memory[1] < 20e6


def test_a_node_dies_and_its_trials_move(computing, engine_of, nodes, tmp_path):
    # given two nodes with one CPU each
    nodes.resize(2)
    points = computing.planned(4, steps=200, trial={"evaluate_every": 20})
    task = computing.Disturbed(folder=str(tmp_path), pause=0.1, between=0.3, culprit=None, how="wait", step=180)
    groups = computing.groups_of(points, task=task)
    assert len(groups) == 2
    kept = set()

    def die(report):
        if isinstance(report, Checkpointed) and len(nodes.running) == 2:
            kept.update(trial.index for trial in report.trials)
            if len(kept) == len(points):
                nodes.remove()
                (tmp_path / "go.part").touch()

    # when one of them dies in the middle, after a checkpoint of both groups
    engine = engine_of(planned=2, options={"checkpoint_every": 20}, workers=2)
    curves, results, failures = computing.outcomes(engine, groups, die)

    # then its trials finish on the other, from their last checkpoint
    assert failures == {}
    assert set(results) == set(range(4))
    computing.assert_same_bits(curves, results, computing.undisturbed(points))
    attempts = computing.attempts(tmp_path)
    assert len(attempts) == 3
    assert attempts[-1][1] > 0


def test_a_node_that_is_lost_with_idle_workers_fails_no_trial(computing, nodes, tmp_path):
    from pipeline.engine.ray_engine import RayEngine

    # given four workers, three of them on one node, that wait for more after a trial each
    nodes.resize(1)
    nodes.add(num_cpus=3)
    nodes.cluster.wait_for_nodes()
    points = families(computing, 1, 16, 24, 32, 40, 48, 56, 64, 72)
    task = computing.Telling(folder=str(tmp_path), together=4)
    groups = computing.groups_of(points, task=task, workers=4)
    engine = RayEngine(Cluster(address=nodes.cluster.address, workers=4), workers=4, device="cpu", attempts=1)
    reports = []
    with engine:
        engine.load(computing.DATASET)
        engine.submit(groups[:4], last=False)
        reports += engine.reports()

        # when that node is lost, and four trials follow, which may lose no worker
        nodes.cluster.remove_node(nodes.running.pop(), allow_graceful=False)
        nodes.cluster.wait_for_nodes()
        time.sleep(2.0)
        engine.submit(groups[4:], last=True)
        reports += engine.reports()

    # then all are computed
    assert [report for report in reports if isinstance(report, Failed)] == []
    assert len([report for report in reports if isinstance(report, Finished)]) == 8


def test_the_results_are_the_same_on_1_2_and_4_nodes(computing, engine_of, nodes, tmp_path):
    points = computing.planned(8)
    expected = computing.undisturbed(points)

    # given an engine that follows the nodes: a node of one CPU holds one worker of three quarters
    nodes.resize(1)
    with engine_of(cpus_per_worker=0.75) as engine:
        engine.load(computing.DATASET)
        for size in (1, 2, 4):
            nodes.resize(size)
            folder = tmp_path / str(size)
            folder.mkdir()
            task = computing.Telling(folder=str(folder), together=size)

            # when the trials are computed on so many
            engine.submit(computing.groups_of(points, task=task, workers=size), last=size == 4)
            curves, results, failures = computing.collected(engine.reports())

            # then all of them compute, to the same bits
            assert failures == {}
            assert set(results) == set(range(8))
            computing.assert_same_bits(curves, results, expected)
            assert len({group["labels"]["ray.io/node-id"] for group in computing.told(folder)}) == size
