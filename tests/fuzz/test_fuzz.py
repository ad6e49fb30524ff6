"""A bounded number of damaged files for every reader; ``python -m tests.fuzz --seconds 600`` makes more."""

import pytest

from tests.fuzz.fuzzing import damaged, try_one
from tests.fuzz.readers import READERS

COUNT = 150
SLOW = {"openml cache": 20, "openml answers": 20}  # scikit-learn's fetcher, a tenth of a second each


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_refused_by_name_or_read_right(name, tmp_path):
    # given a reader that reads what is whole
    for whole in READERS[name].whole:
        READERS[name].read(whole, tmp_path)

    # when it is given damaged files, then it raises nothing but its own errors
    ends = {try_one(name, seed) for seed in range(SLOW.get(name, COUNT))}

    assert "refused" in ends


def test_damage_is_the_same_for_the_same_number():
    whole = bytes(range(200))

    assert damaged(whole, 7) == damaged(whole, 7)
    assert len({damaged(whole, seed) for seed in range(50)}) > 40
