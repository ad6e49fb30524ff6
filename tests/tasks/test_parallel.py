"""Several threads compute as one does."""

import numpy as np

from tasks.fused.parallel import parallel_map


def test_an_overflow_that_is_ignored_is_ignored_on_every_thread():
    large = np.float32(3e38)

    with np.errstate(over="ignore"):
        found = parallel_map(lambda factor: large * np.float32(factor), [1, 10, 20], threads=2)

    assert found == [large, np.inf, np.inf]
