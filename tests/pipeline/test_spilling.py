"""What trials wait with lies on the disk, and is the same to the bit."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from pipeline.plan.plan import Progress
from pipeline.sweep.checkpoints import Checkpoints
from pipeline.sweep.spilling import SMALLEST, spilled
from tasks.events import Checkpoint

MEGABYTE = 2**20
ROOT = Path(__file__).parents[2]


def progress_of(**arrays):
    return Progress(checkpoint=Checkpoint(step=5, trials=np.arange(1), arrays=arrays))


@pytest.fixture
def traced():
    """Return what says how many bytes of memory are used, and the most that were used since it was last asked."""
    tracemalloc.start()

    def used():
        sizes = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        return sizes

    yield used
    tracemalloc.stop()


def test_arrays_of_any_kind_are_the_same_on_the_disk_and_leave_the_memory(tmp_path, traced):
    rng = np.random.default_rng(0)
    arrays = {
        "weights": rng.standard_normal((1, 3 * MEGABYTE // 8)),
        "odd": rng.integers(0, 255, (1, 7), dtype=np.uint8),
        "turned": rng.standard_normal((5, 3), dtype=np.float32).T[None],
        "none": np.zeros((1, 0)),
        "flags": np.array([[True, False]]),
        "names": np.array([["a", "bc"]]),
        "nothing": np.zeros((1, 0), np.float32),
    }
    progress = progress_of(**arrays)
    before, _ = traced()

    found = spilled(progress, tmp_path)

    assert list(tmp_path.iterdir()) == []
    assert found.checkpoint.step == 5
    assert found.checkpoint.arrays.keys() == arrays.keys()
    for name, array in found.checkpoint.arrays.items():
        np.testing.assert_array_equal(array, arrays[name])
        assert (array.dtype, array.shape) == (arrays[name].dtype, arrays[name].shape)
        assert array.flags.aligned
        assert not array.flags.writeable
    joined = Progress.join([found, found]).checkpoint.arrays
    np.testing.assert_array_equal(joined["weights"], np.concatenate([arrays["weights"]] * 2))
    del progress, arrays, joined, array
    after, _ = traced()
    assert after < before - 2.5 * MEGABYTE


SPILLING = """
import os, resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_spilling import SMALLEST, np, progress_of, spilled
before = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
large = progress_of(weights=np.ones((1, SMALLEST), np.uint8))
found = [spilled(large, Path(sys.argv[1])) for _ in range(200)]
print(before, len(os.listdir("/proc/self/fd")), sum(one is not large for one in found))
"""


def test_half_of_the_files_that_a_process_may_open_are_left_to_others(tmp_path):
    script = SPILLING.format(tests=str(Path(__file__).parent))
    # A process of its own: how many files this one has open is up to the tests before.
    end = subprocess.run(
        [sys.executable, "-c", script, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    before, after, spills = map(int, end.stdout.split())
    assert 125 <= after <= 130
    assert spills == after - before


def test_small_arrays_and_those_that_the_disk_has_no_room_for_stay(tmp_path):
    small, large = progress_of(weights=np.ones((1, 100))), progress_of(weights=np.ones((1, SMALLEST)))

    assert spilled(small, tmp_path) is small
    assert spilled(large, tmp_path / "missing") is large
    assert spilled(large, tmp_path) is not large


def test_a_checkpoint_is_written_without_a_copy_and_checkpoints_are_loaded_a_group_at_a_time(tmp_path, traced):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    groups = {}
    for group in range(4):
        state = np.full((3, 4 * MEGABYTE), group, np.uint8)
        keys = tuple(f"{group}-{trial}" for trial in range(3))
        groups[keys] = Progress(checkpoint=Checkpoint(step=5, trials=np.arange(3), arrays={"weights": state}))
    before, _ = traced()
    for keys, progress in groups.items():
        checkpoints.save(keys, progress)
    _, most = traced()
    assert most - before < MEGABYTE

    found = checkpoints.load()

    now, most = traced()
    assert now - before < MEGABYTE
    assert most - before < 4.5 * state.nbytes
    for keys, progress in groups.items():
        for number, key in enumerate(keys):
            expected = progress.checkpoint.arrays["weights"][[number]]
            np.testing.assert_array_equal(found[key].checkpoint.arrays["weights"], expected)
    checkpoints.close(done=True)
