import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.plan.balance import Load, balance
from tasks.cost import Cost

LOADS = st.lists(
    st.builds(
        Load,
        trials=st.integers(1, 300),
        cost=st.builds(Cost, shared=st.floats(0, 1e6), own=st.floats(0.1, 1e6)),
        widest=st.integers(1, 200),
    ),
    max_size=6,
)


def even(trials, cost=1.0):
    return Load(trials=trials, cost=Cost(shared=3 * cost, own=cost), widest=128)


@pytest.mark.parametrize(
    ("trials", "workers", "parts"),
    [
        (1, 4, 1),
        (2, 1, 1),
        (8, 64, 8),
        (48, 1, 1),
        (48, 4, 4),
        (48, 16, 16),
        (500, 3, 6),  # 4 parts of 125 would leave a worker with two, the others with one
        (500, 64, 63),
        (10_000, 64, 127),  # 79 parts of 127 would keep 15 workers busy twice as long as the others
        (1_000_000, 1000, 8000),
    ],
)
def test_equal_trials_are_cut_so_that_the_workers_end_together(trials, workers, parts):
    assert balance([even(trials)], [0.0] * workers) == [parts]


def test_what_costs_more_is_cut_finer():
    assert balance([even(100, cost) for cost in (1.0, 10.0, 1000.0)], [0.0] * 10) == [1, 1, 10]


def test_the_workers_that_are_busy_get_less():
    # given one trial's time on one worker of two, and on the other that of all
    assert balance([even(20)], [4.0, 0.0]) == [2]
    assert balance([even(20)], [23.0, 0.0]) == [1]


def test_no_load_is_cut_into_nothing():
    assert balance([], [0.0]) == []


@given(LOADS, st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_parts_are_never_wider_than_allowed_nor_empty(loads, busy):
    counts = balance(loads, busy)

    assert len(counts) == len(loads)
    for load, parts in zip(loads, counts, strict=True):
        assert -(-load.trials // load.widest) <= parts <= load.trials


@given(LOADS.filter(bool), st.integers(1, 20))
def test_the_last_worker_ends_no_later_than_without_cutting(loads, workers):
    def end(counts):
        free = [0.0] * workers
        for part in sorted(
            (load.part_cost(n) for load, n in zip(loads, counts, strict=True) for _ in range(n)), reverse=True
        ):
            free.sort()
            free[0] += part
        return max(free)

    coarsest = [-(-load.trials // load.widest) for load in loads]

    assert end(balance(loads, [0.0] * workers)) <= end(coarsest) * 1.0001 / 0.98


def test_a_part_has_what_its_trials_share():
    assert even(10, 2.0).part_cost(4) == 2.0 * 3 + 6.0


def test_trials_that_share_nearly_all_are_not_cut():
    shared, others = Load(trials=20, cost=Cost(shared=1000.0, own=1.0), widest=128), even(20, 100.0)

    assert balance([shared], [0.0] * 2) == [1]
    assert balance([shared, others], [0.0] * 2) == [1, 3]
