"""What every test has: the real CIFAR-10 images, where they are beside the checkout, and Ray clusters of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.benchmarks.images import UNPACK, cifar10

# A cluster that runs on the machine, another test's perhaps, is joined by those tests only that say so.
os.environ["RAY_ADDRESS"] = "local"


@pytest.fixture(scope="session")
def cifar10_root() -> Path:
    """Return a folder that holds cifar-10-batches-bin, unpacked once for all sessions."""
    root = cifar10()
    return root or pytest.skip(f"the CIFAR-10 images are not beside the checkout ({UNPACK.parent.resolve()})")
