import math

import pytest

from pipeline.sweep.occupancy import Occupancy


def test_the_idle_share_counts_from_where_it_begins():
    now = [0.0]
    occupancy = Occupancy(lambda: now[0])
    occupancy.note(2, 2)
    assert math.isnan(occupancy.idle)
    now[0] = 10.0
    occupancy.begin()
    # three seconds with both workers busy, one with one of them
    now[0] = 13.0
    occupancy.note(1, 2)
    now[0] = 14.0
    occupancy.note(3, 2)

    assert occupancy.idle == pytest.approx(1 / 8)


def test_workers_that_have_nothing_more_to_compute_are_not_said_to_be_idle():
    now = [0.0]
    occupancy = Occupancy(lambda: now[0])
    occupancy.begin()
    occupancy.note(0, 2)
    now[0] = 1.0
    occupancy.note(0, 2)

    assert math.isnan(occupancy.idle)
