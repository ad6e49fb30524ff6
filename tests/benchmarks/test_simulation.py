"""The simulation in its limits, where the answer can be written down."""

import dataclasses

import pytest

from pipeline.plan.plan import WIDEST
from tests.benchmarks.simulation import IMAGES_BYTES, METRICS, Costs, simulate

FREE = Costs(**{field.name: 0.0 for field in dataclasses.fields(Costs)})
STEP = dataclasses.replace(FREE, step_base=1e-3, step_trial=1e-4)


def costs(**some):
    return dataclasses.replace(STEP, **some)


def test_one_worker_does_one_group_after_another():
    end = simulate(STEP, 1, 10 * WIDEST, steps=100, nodes=1)

    assert end.makespan == pytest.approx(10 * 100 * (1e-3 + WIDEST * 1e-4))
    assert end.first == "arithmetic"


def test_as_many_workers_as_trials_take_as_long_as_one_trial():
    end = simulate(STEP, 1000, 1000, steps=100, nodes=1)

    assert end.makespan == pytest.approx(100 * (1e-3 + 1e-4))


@pytest.mark.parametrize(
    ("some", "first"),
    [({"driver_trial": 1.0}, "driver"), ({"writer_trial": 1.0}, "store"), ({"plan_trial": 1.0}, "planning")],
)
def test_a_part_that_costs_a_second_a_trial_takes_that_however_many_workers_there_are(some, first):
    slow, fast = (simulate(costs(**some), workers, 5000, steps=100) for workers in (100, 1000))

    for end in (slow, fast):
        assert end.first == first
        assert 5000 <= end.makespan <= 5000 + 100 * (1e-3 + WIDEST * 1e-4) + 60
    assert fast.makespan == pytest.approx(slow.makespan, rel=0.01)


def test_every_point_is_paid_for_once():
    end = simulate(costs(driver_point=1.0, bytes_point=100.0), 4, 64, steps=100, record_every=10)

    points = 64 * 10 * len(METRICS)
    assert end.work["driver"] == pytest.approx(points)
    assert end.disk == pytest.approx(points * 100)


def test_checkpoints_fill_the_network_until_they_are_left_out():
    kept = simulate(STEP, 1000, 1000 * WIDEST, steps=10_000)
    left_out = simulate(STEP, 1000, 1000 * WIDEST, steps=10_000, checkpoint_every=float("inf"))

    assert kept.first == "network"
    assert left_out.first == "arithmetic"
    assert kept.makespan > 2 * left_out.makespan


def test_more_trials_than_the_driver_can_keep_break_it_before_anything_else():
    few, many = (simulate(costs(memory_trial=1e5, writer_trial=1.0), 100, trials) for trials in (600_000, 700_000))

    assert few.first == "store"
    assert many.first == "memory"


def test_the_images_reach_twice_as_many_nodes_in_one_more_round():
    few, many = (simulate(STEP, 8 * nodes, 8 * nodes).work["broadcast"] for nodes in (64, 128))

    assert many - few == pytest.approx(IMAGES_BYTES / 1.25e9)
