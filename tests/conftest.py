"""What every test has: the real CIFAR-10 images, where they are beside the checkout, and Ray clusters of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

# A cluster that runs on the machine, another test's perhaps, is joined by those tests only that say so.
os.environ["RAY_ADDRESS"] = "local"

CIFAR10 = Path(__file__).parents[1] / ".." / "shared" / "data" / "unpack_cifar10.py"


@pytest.fixture(scope="session")
def cifar10_root() -> Path:
    """Return a folder that holds cifar-10-batches-bin, unpacked once for all sessions."""
    if not CIFAR10.is_file():
        pytest.skip(f"the CIFAR-10 images are not beside the checkout ({CIFAR10.parent.resolve()})")
    root = Path(tempfile.gettempdir()) / "descent-sweeps-cifar10"
    if not root.is_dir():
        fresh = Path(tempfile.mkdtemp(prefix=f"{root.name}.", dir=root.parent))
        subprocess.run([sys.executable, CIFAR10, fresh], check=True, stdout=subprocess.DEVNULL)
        try:
            fresh.rename(root)
        except OSError:  # another session was faster
            shutil.rmtree(fresh)
    return root
