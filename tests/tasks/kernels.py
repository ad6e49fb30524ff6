"""OpenBLAS has kernels for each kind of processor: the tests of bits are run with several of them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np  # noqa: F401  # it loads the BLAS that is asked
import pytest
from threadpoolctl import threadpool_info

KERNELS = ("Nehalem", "Sandybridge", "Haswell", "SkylakeX")
"""OpenBLAS chooses one by the processor, or as it is told."""


def own_kernel():
    """Return the kernel of OpenBLAS that this process has, None with another library."""
    return next((one["architecture"] for one in threadpool_info() if one["internal_api"] == "openblas"), None)


OTHERS = [kernel for kernel in KERNELS if kernel != own_kernel()]
"""Those that the tests of bits are not run with in any case."""


def skip_without(panel):
    """Skip a test where this BLAS has no panel for its shape; each of the `KERNELS` has one."""
    if panel is None:
        assert own_kernel() not in KERNELS
        pytest.skip("this BLAS has no panel for this shape")


def assert_same_bits_with(kernel, file):
    """Run the tests of bits in a file with a kernel."""
    if own_kernel() is None:
        pytest.skip("only OpenBLAS can be told which kernel to take")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "same_bits", "-rs", file]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OPENBLAS", "PYTEST"))}
    environment |= {"OPENBLAS_CORETYPE": kernel, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=environment, text=True, capture_output=True, check=False
    )
    if done.returncode == -4:
        pytest.skip(f"this processor lacks the instructions of {kernel}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout, done.stdout
