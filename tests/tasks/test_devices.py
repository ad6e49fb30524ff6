import numpy as np
import pytest
from array_api_compat import is_numpy_array

from tasks.arrays.devices import (
    DEVICES,
    HOST,
    HOST_BLOCKS,
    array_for,
    as_numpy,
    block_sizes,
    count_gpus,
    device_put,
    is_out_of_memory,
    take_rows,
)
from tasks.errors import ConfigError
from tests.tasks.backends import ALL, like_of


@pytest.fixture(params=ALL)
def like(request):
    return like_of(request.param)


def test_the_cpu_is_numpy():
    assert is_numpy_array(array_for("cpu"))
    assert array_for("cpu").dtype == np.float32
    assert block_sizes(HOST) is HOST_BLOCKS


def test_an_unknown_device_is_refused():
    with pytest.raises(ConfigError, match=r"device must be one of cpu, cuda, got 'cdua' \(did you mean 'cuda'\?\)"):
        array_for("cdua")
    assert DEVICES == ("cpu", "cuda")


def test_where_there_is_no_gpu_the_message_says_what_was_looked_for():
    if count_gpus():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match=r"device must be cpu .* got 'cuda' \(PyTorch .*; CuPy .*cuda12"):
        array_for("cuda")


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64", "bool"])
def test_arrays_come_back_as_they_were_placed(like, dtype):
    # given an array that must not be written to, as those of a data set and of a checkpoint are
    values = np.arange(12).reshape(3, 4).astype(dtype)
    values.flags.writeable = False
    there = device_put(values, like)
    np.testing.assert_array_equal(as_numpy(there), values)
    assert as_numpy(there).dtype == values.dtype
    np.testing.assert_array_equal(as_numpy(take_rows(there, [2, 0, 2])), values[[2, 0, 2]])


def test_errors_of_memory_are_known_whichever_library_raised_them():
    kind = type("OutOfMemoryError", (RuntimeError,), {})
    blas = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    assert all(map(is_out_of_memory, [MemoryError(), kind("CUDA out of memory"), blas]))
    assert not is_out_of_memory(RuntimeError("something else"))
