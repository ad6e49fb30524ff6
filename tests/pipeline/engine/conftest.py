"""What the tests of the engines share: tasks that fail on purpose, and engines on one Ray cluster."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def computing():
    """Return the module beside this file; a Ray worker, which has no such module, gets its tasks by value."""
    import ray

    spec = importlib.util.spec_from_file_location("computing", Path(__file__).with_name("computing.py"))
    module = sys.modules["computing"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ray.cloudpickle.register_pickle_by_value(module)
    yield module
    ray.cloudpickle.unregister_pickle_by_value(module)
    del sys.modules["computing"]


@pytest.fixture
def engine(cluster):
    """Return a maker of engines on the cluster, with two workers."""
    from pipeline.config.schema import Cluster
    from pipeline.engine.ray_engine import RayEngine

    def make(address=cluster, *, workers=2, **settings):
        where = Cluster(address=address, workers=workers)
        return RayEngine(where, workers=workers, **{"device": "cpu", "attempts": 3, **settings})

    return make
