import json
import platform
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.config.schema import Cluster
from pipeline.engine.inprocess import InProcess
from pipeline.engine.protocol import run
from pipeline.engine.ray_cluster import join_or_start
from pipeline.engine.ray_engine import RayEngine
from pipeline.errors import EngineError
from pipeline.reports import Finished, Notice

ROOT = Path(__file__).parents[3]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def test_one_worker_two_and_this_process_give_the_same_numbers(computing, engine):
    points = computing.planned(12)
    here, results_here, _ = computing.outcomes(
        InProcess(threads=2, device="cpu"), computing.groups_of(points, workers=1)
    )

    for workers in (1, 2):
        there, results, failures = computing.outcomes(
            engine(workers=workers), computing.groups_of(points, workers=workers)
        )

        assert failures == {}
        assert computing.merged(there).keys() == computing.merged(here).keys()
        for name, (steps, values) in computing.merged(here).items():
            np.testing.assert_array_equal(steps, computing.merged(there)[name][0])
            np.testing.assert_array_equal(values, computing.merged(there)[name][1])
        for index, result in results_here.items():
            np.testing.assert_array_equal(result.arrays["weights"], results[index].arrays["weights"])


def test_a_node_with_another_version_of_a_library_is_told_of_once_and_the_layouts_of_its_trials_name_it(
    computing, engine
):
    groups = computing.groups_of(computing.planned(4), workers=2)
    assert len(groups) == 2

    # given a driver with another NumPy than its workers
    with engine(versions={"numpy": "0.1"}) as started:
        reports = list(run(started, groups, computing.DATASET))

    (told,) = [report.text for report in reports if isinstance(report, Notice)]
    assert told.startswith(f"{platform.node()} has numpy {np.__version__}, not 0.1: ")
    finished = [report for report in reports if isinstance(report, Finished)]
    assert [one.layout.versions for one in finished] == 4 * [(("numpy", np.__version__),)]


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_workers_for_which_a_cluster_has_no_room_are_told_of_once(computing, engine, workers):
    with engine(workers=workers) as started:
        reports = list(run(started, computing.groups_of(computing.planned(2)), computing.DATASET))

    told = [report.text for report in reports if isinstance(report, Notice)]
    short = "cluster.workers=7, but the nodes of the cluster hold 2 now: the others start when nodes join"
    assert told == ([short] if workers == 7 else [])


def test_a_worker_may_ask_for_memory(computing, cluster):
    where = Cluster(address=cluster, workers=1, resources={"memory": 1e6})

    _, results, _ = computing.outcomes(
        RayEngine(where, workers=1, device="cpu"), computing.groups_of(computing.planned(1))
    )

    assert set(results) == {0}


def test_a_cluster_out_of_reach_is_named(engine):
    with pytest.raises(EngineError, match=r"cluster\.address must be a Ray cluster in reach, got '127"):
        engine("127.0.0.1:1").__enter__()


@pytest.mark.parametrize(
    "job", [None, {"env_vars": {"A": "B"}}, {"working_dir": str(ROOT / "pipeline")}], ids=["none", "plain", "with code"]
)
def test_a_running_cluster_is_joined_and_left_running(computing, engine, cluster, monkeypatch, job):
    # given what Ray sets for the driver of a job that was submitted
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    if job:
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": job}))

    _, results, _ = computing.outcomes(engine(None, workers=1), computing.groups_of(computing.planned(1)))

    assert set(results) == {0}


def test_a_sweep_that_waits_for_room_on_a_cluster_says_so_once(computing, engine, cluster, monkeypatch):
    from ray.util import placement_group, remove_placement_group

    # given a cluster all of whose CPUs others have
    monkeypatch.setattr("pipeline.engine.ray_engine.WAIT_SILENTLY", 0.5)
    join_or_start(Cluster(address=cluster), cpus=0)
    others, waiting, joined = placement_group([{"CPU": 2}]), [], engine(workers=1)
    assert others.wait(60)

    def leave(report):
        if isinstance(report, Notice):
            waiting.append(report.text)
            remove_placement_group(others)

    # when they leave once that is said
    joined.start(joined=True)
    try:
        _, results, _ = computing.collected(
            run(joined, computing.groups_of(computing.planned(1)), computing.DATASET), leave
        )
    finally:
        joined.close()

    assert waiting == ["waiting for a worker to start: it needs a node with 1 CPU free"]
    assert set(results) == {0}


def test_the_workers_of_a_cluster_run_the_code_of_the_driver(computing, engine, tmp_path):
    import pipeline

    task = computing.Telling(folder=str(tmp_path))

    computing.outcomes(engine(workers=1), computing.groups_of(computing.planned(1), task=task))

    # given to the node, where the driver's own folder need not be
    (told,) = computing.told(tmp_path)
    here, there = Path(pipeline.__file__).parent, Path(told["code"]).parent
    assert "py_modules_files" in there.parts
    assert sources(there) == sources(here)


def sources(folder):
    """Return the code in a folder and those below, by its path."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*.py")}


def test_trials_that_pause_go_on_in_another_group_to_the_same_bits_though_a_worker_is_lost(computing, engine, tmp_path):
    computing.assert_paused_trials_go_on(engine(workers=2), computing.LostOnce(folder=str(tmp_path)))
    assert (tmp_path / "lost").exists()


def test_no_worker_is_wanted_while_more_run_than_the_cluster_has_room_for():
    engine = RayEngine(Cluster(), workers=2, device="cpu")
    engine._follows = True
    engine._running = {number: SimpleNamespace(wide=True) for number in range(6)}

    assert engine._wanted(3) == 0
