import pytest

from pipeline.config.schema import Cluster
from pipeline.engine.capacity import Node, capacity, require_room
from pipeline.errors import EngineError

HEAD = Node(resources={"CPU": 8.0, "memory": 1e9, "node:1.2.3.4": 1.0}, labels={"ray.io/node-id": "a", "zone": "x"})
GPUS = Node(resources={"CPU": 4.0, "GPU": 2.0, "fast": 3.0}, labels={"ray.io/node-id": "b", "zone": "y"})


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        ({}, 12),
        ({"cpus_per_worker": 3}, 3),
        ({"cpus_per_worker": 0.1}, 120),
        ({"gpus_per_worker": 0.25}, 4),
        ({"cpus_per_worker": 0.5, "gpus_per_worker": 0.25}, 8),
        ({"cpus_per_worker": 0.5, "gpus_per_worker": 0.4}, 4),  # two on each of two GPUs, and no fifth on what is left
        ({"resources": {"fast": 2}}, 1),
        ({"labels": {"zone": "x"}}, 8),
        ({"labels": {"zone": "!x"}}, 4),
        ({"labels": {"zone": "in(x, y)"}}, 12),
        ({"labels": {"zone": "!in(x,y)"}}, 0),
        ({"labels": {"other": "!x"}}, 12),
        ({"labels": {"other": "x"}}, 0),
    ],
)
def test_a_cluster_holds_as_many_workers_as_its_nodes_have_room_for(asked, held):
    assert capacity([HEAD, GPUS], Cluster(**asked)) == held


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"cpus_per_worker": 9}, "cluster.cpus_per_worker must be at most what a node of the cluster has, got 9"),
        ({"gpus_per_worker": 4}, "cluster.gpus_per_worker must be at most what a node of the cluster has, got 4"),
        ({"resources": {"tpu": 1}}, "cluster.resources.tpu must be at most what a node of the cluster has, got 1"),
        ({"labels": {"zone": "z"}}, "cluster.labels.zone must be a label of a node of the cluster, got 'z'"),
        ({"cpus_per_worker": 8, "gpus_per_worker": 1}, "cluster must ask for no more than one node of the cluster has"),
        ({"labels": {"zone": "x"}, "gpus_per_worker": 1}, "cluster must ask for no more than one node"),
    ],
)
def test_what_no_node_has_is_refused_with_what_they_have(asked, message):
    with pytest.raises(EngineError) as error:
        require_room([HEAD, GPUS, GPUS], Cluster(**asked))

    assert message in str(error.value)
    has = "1 x 8 CPUs and 0 GPUs (labels zone=x); 2 x 4 CPUs and 2 GPUs, 3 fast (labels zone=y)"
    assert str(error.value).endswith(f"its nodes have {has}")


def test_too_much_memory_is_refused_with_the_most_that_a_node_has():
    with pytest.raises(
        EngineError, match=r"memory must be at most what a .*, got 2e\+09: its nodes have at most 1e\+09$"
    ):
        require_room([Node(resources={"CPU": 1, "memory": 1e9}, labels={}), HEAD], Cluster(resources={"memory": 2e9}))


def test_what_one_node_has_is_enough():
    require_room([HEAD, GPUS], Cluster(gpus_per_worker=2, labels={"zone": "y"}))
