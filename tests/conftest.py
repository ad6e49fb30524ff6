"""What every test has: the real CIFAR-10 images, where they are there, an empty store, one Ray cluster to join."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.images import UNPACK, cifar10

# A cluster that runs on the machine, another test's perhaps, is joined by those tests only that say so.
os.environ["RAY_ADDRESS"] = "local"


LONGEST = [
    "test_packages",
    "test_resume",
    "test_ray_nodes",
    "test_app",
    "test_stopping",
    "test_ray_client",
    "test_outage",
    "test_backfill",
    "test_ray_faults",
    "test_search_sweeper",
    "test_readme",
    "test_stores",
    "test_terminal",
    "test_job_context",
]
"""The modules that take longest, 40 seconds to three minutes, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker is waited for in the end: the `LONGEST`, then all slow tests."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)) if item.path in slow else len(LONGEST) + 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each module to one worker, in the order above: the fixtures of a module are servers and whole sweeps."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.fixture(scope="session")
def cifar10_root() -> Path:
    """Return a folder that holds cifar-10-batches-bin, unpacked once for all sessions."""
    root = cifar10()
    return root or pytest.skip(f"the CIFAR-10 images are not beside the checkout ({UNPACK.parent.resolve()})")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite store without experiments, to be copied: making one takes seconds."""
    file = tmp_path_factory.mktemp("empty") / "mlflow.db"
    from pipeline.record.store import connect

    with warnings.catch_warnings():
        # SQLAlchemy warns of what MLflow does while its models are imported.
        warnings.filterwarnings("ignore", "The ``noload`` loader strategy", DeprecationWarning)
        connect(f"sqlite:///{file}", create=True)
    return file


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Yield the address of one Ray cluster of two CPUs, as a user would have one running; tests leave it as it was."""
    from ray.cluster_utils import Cluster

    running = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield running.address
    running.shutdown()
