"""What every test has: the real CIFAR-10 images, where they are there, an empty store, one Ray cluster to join."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from hypothesis import settings

from tests import stores
from tests.benchmarks.images import UNPACK, cifar10
from tests.clusters import start_cluster

# The same generated examples in every run: what they find is not of the change that is tested.
settings.register_profile("same", derandomize=True, database=None)
if "FUZZ_EXAMPLES" not in os.environ:
    settings.load_profile("same")

# A cluster that runs on the machine, another test's perhaps, is joined by those tests only that say so.
os.environ["RAY_ADDRESS"] = "local"


def pytest_report_header() -> str:
    """Return which PyTorch is the oracle of the networks."""
    try:
        return f"PyTorch {version('torch')}"
    except PackageNotFoundError:
        return "PyTorch is not installed: the tests that compare with it are skipped"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let one of the workers begin with the modules that join a Ray cluster, the others with the other slow ones.

    Workers are dealt the tests in stretches, and one that has none left steals from the end of another's: there
    stand the quick tests, so that no second cluster, server or browser is started for a test or two.
    """
    if not hasattr(config, "workerinput"):
        return

    def modules(wanted: Callable[[pytest.Item], bool]) -> set[Path]:
        return {item.path for item in items if wanted(item)}

    workers: int = config.workerinput["workercount"]
    slow = modules(lambda item: item.get_closest_marker("slow") is not None)
    joining = slow & modules(lambda item: not {"cluster", "nodes"}.isdisjoint(getattr(item, "fixturenames", ())))
    others = sorted(slow - joining)
    rest = max(1, workers - 1)
    begun = [joining, *(set(others[place::rest]) for place in range(rest))]
    quick = [item for item in items if item.path not in slow]
    dealt: list[pytest.Item] = []
    for first in begun:
        # Those that test the whole begin: no set-up is as long as theirs, to be made twice where one is stolen.
        stretch = sorted((item for item in items if item.path in first), key=lambda item: len(item.path.parts))
        room = max(0, len(items) // workers - len(stretch))
        dealt += [*stretch, *quick[:room]]
        quick = quick[room:]
    items[:] = [*dealt, *quick]


@pytest.fixture(scope="session")
def cifar10_root() -> Path:
    """Return a folder that holds cifar-10-batches-bin, unpacked once for all sessions."""
    root = cifar10()
    return root or pytest.skip(f"the CIFAR-10 images are not beside the checkout ({UNPACK.parent.resolve()})")


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite store without experiments, to be copied."""
    file = tmp_path_factory.mktemp("empty") / "mlflow.db"
    file.write_bytes(stores.empty_store())
    return file


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """Yield the address of one Ray cluster of two CPUs, as a user would have one running; tests leave it as it was."""
    running = start_cluster(num_cpus=2)
    yield running.address
    running.shutdown()
