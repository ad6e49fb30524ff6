"""The CIFAR-10 images that stand beside the checkout, unpacked once into the temporary folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

UNPACK = Path(__file__).parents[2] / ".." / "shared" / "data" / "unpack_cifar10.py"


def cifar10() -> Path | None:
    """Return the folder that holds cifar-10-batches-bin, None where there are no images."""
    if not UNPACK.is_file():
        return None
    root = Path(tempfile.gettempdir()) / "descent-sweeps-cifar10"
    if not root.is_dir():
        fresh = Path(tempfile.mkdtemp(prefix=f"{root.name}.", dir=root.parent))
        subprocess.run([sys.executable, UNPACK, fresh], check=True, stdout=subprocess.DEVNULL)
        try:
            fresh.rename(root)
        except OSError:  # another process was faster
            shutil.rmtree(fresh)
    return root
