"""The array libraries that the core is tested on: NumPy, the strict one, PyTorch, and a GPU where there is one."""

import importlib.util

import numpy as np
import pytest

from tasks.arrays.devices import HOST, array_for
from tasks.errors import ConfigError

OTHERS = ["array-api-strict", "torch", pytest.param("cuda", marks=pytest.mark.gpu)]
ALL = ["numpy", *OTHERS]


def like_of(backend):
    """Return an empty float32 array of a backend, or skip the test where it is not there."""
    if backend == "numpy":
        return HOST
    if backend == "cuda":
        try:
            return array_for("cuda")
        except ConfigError as error:
            pytest.skip(str(error))
    module = backend.replace("-", "_")
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{backend} is not installed")
    xp = importlib.import_module(module)
    return xp.empty(0, dtype=xp.float32)


def distance(one, other):
    """Return the largest difference of two arrays over the largest magnitude of the second."""
    one, other = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    assert one.shape == other.shape
    np.testing.assert_array_equal(np.isfinite(one), np.isfinite(other))
    finite = np.isfinite(other)
    return float(np.abs(one - other)[finite].max(initial=0.0) / max(np.abs(other[finite]).max(initial=0.0), 1e-30))
