"""A trial's curves become points, each exactly once."""

import tracemalloc

import numpy as np
import pytest

from pipeline.record.trial_run import RunPoints
from pipeline.results.curves import Curves, Series
from tasks.events import Curve, Outcome, Result

NAN = float("nan")


def rows(blocks):
    """Return points of metrics as metric, value, time and step, one after the other."""
    return [
        (metric, *point)
        for metric, values, times, steps in blocks
        for point in zip(values.tolist(), times.tolist(), steps.tolist(), strict=True)
    ]


def curve(steps, **metrics):
    return Curve(trial=0, steps=np.array(steps), metrics={k: np.array(v, dtype=float) for k, v in metrics.items()})


def result(step, outcome=Outcome.COMPLETE, **metrics):
    return Result(trial=0, outcome=outcome, step=step, metrics=metrics)


def test_a_nan_is_no_point_and_an_infinity_is_one():
    run = RunPoints(0)

    points = rows(run.add(curve([1, 2], loss=[1.5, float("inf")], accuracy=[NAN, 0.5]), 10))

    assert [(name, value, step) for name, value, _, step in points] == [
        ("loss", 1.5, 1),
        ("loss", float("inf"), 2),
        ("accuracy", 0.5, 2),
    ]


def test_a_block_that_comes_again_adds_nothing_and_one_that_overlaps_only_its_new_steps():
    run = RunPoints(0)
    run.add(curve([1, 2], loss=[1, 2]), 10)

    assert run.add(curve([1, 2], loss=[1, 2]), 20) == []
    assert [step for *_, step in rows(run.add(curve([2, 3], loss=[2, 3]), 30))] == [3]


def test_two_metrics_at_the_same_step_in_two_blocks_are_both_kept():
    run = RunPoints(0)
    run.add(curve([0], loss=[1]), 10)

    assert [point[0] for point in rows(run.add(curve([0], accuracy=[0.5]), 10))] == ["accuracy"]


def test_timestamps_are_spread_over_the_time_since_the_last_block():
    run = RunPoints(1000)

    first = rows(run.add(curve([1, 2], loss=[1, 1]), 1100))
    second = rows(run.add(curve([3, 4], loss=[1, 1]), 1300))

    assert [time for _, _, time, _ in first + second] == [1050, 1100, 1200, 1300]


def test_the_end_adds_the_metrics_that_have_no_point_at_its_step_and_no_other():
    run = RunPoints(0)
    run.add(curve([5, 10], **{"val/accuracy": [0.25, 0.5], "val/loss": [1, NAN]}), 1)

    points = rows(
        run.end(result(10, **{"val/accuracy": 0.5, "val/loss": 2, "test/accuracy": 0.25, "test/loss": NAN}), 7)
    )

    assert points == [("val/loss", 2, 7, 10), ("test/accuracy", 0.25, 7, 10)]


@pytest.mark.parametrize(("outcome", "kept"), [(Outcome.DIVERGED, ["loss"]), (Outcome.COMPLETE, [])])
def test_a_nan_is_a_point_where_the_trial_diverged_at_that_step(outcome, kept):
    run = RunPoints(0)
    run.add(curve([1, 2], loss=[1, 2], accuracy=[NAN, 0.5]), 1)
    run.add(curve([3], loss=[NAN]), 2)

    points = rows(run.end(result(3, outcome), 3))

    assert [name for name, *_ in points] == kept
    assert all(np.isnan(value) and step == 3 for _, value, _, step in points)


def test_series_are_the_points_in_order():
    run = RunPoints(0)
    run.add(curve([1, 2], loss=[3, 2]), 1)
    run.add(curve([3], loss=[1]), 2)

    series = run.curves.series()["loss"]

    assert series.steps.tolist() == [1, 2, 3]
    assert series.values.tolist() == [3, 2, 1]


def test_a_thin_curve_keeps_the_lowest_and_the_last_point_of_every_stretch_and_the_others_what_is_of_the_same_steps():
    run, loss = RunPoints(0), np.random.default_rng(0).standard_normal(1000)
    run.add(curve(range(1, 1001), **{"train/loss": loss, "examples": np.arange(1000), "early": [1.0] + [NAN] * 999}), 1)

    run.curves.thin(8)

    thin, examples, early = (run.curves.series()[name] for name in ("train/loss", "examples", "early"))
    assert thin.values.tolist() == [value for part in np.split(loss, 4) for value in (part.min(), part[-1])]
    assert thin.values.tolist() == loss[thin.steps - 1].tolist()
    assert examples.steps.tolist() == thin.steps.tolist()
    assert (early.steps.tolist(), early.values.tolist()) == ([1], [1.0])


def test_curves_without_a_training_loss_are_downsampled_each_by_its_own_extremes_and_last_points():
    run, score = RunPoints(0), np.random.default_rng(0).standard_normal(999)
    run.add(curve(range(1, 1000), score=score), 1)
    run.add(curve([*range(1000, 1010)], early=np.arange(10.0)), 2)

    run.curves.thin(9)

    thin, early = (run.curves.series()[name] for name in ("score", "early"))
    parts = np.split(score, 3)
    assert sorted(thin.values) == sorted(value for part in parts for value in (part.min(), part.max(), part[-1]))
    assert thin.values.tolist() == score[thin.steps - 1].tolist()
    assert early.steps[-1] == 1009
    assert len(early.steps) <= 9


def test_a_curve_that_measures_at_other_steps_than_the_training_loss_keeps_points_of_its_own():
    run = RunPoints(0)
    run.add(curve(range(10, 1000, 10), **{"train/loss": np.arange(99.0)}), 1)
    run.add(curve(range(1001, 1100), score=np.arange(99.0)), 2)

    run.curves.thin(9)

    assert {name: len(one.steps) for name, one in run.curves.series().items()} == {"train/loss": 8, "score": 6}


def test_points_that_come_one_by_one_take_the_memory_of_their_numbers():
    count, curves = 20_000, Curves()

    tracemalloc.start()
    for step in range(count):
        curves.add("score", Series(steps=np.array([step]), values=np.array([float(step)])))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 3 * 16 * count
    assert curves.series()["score"].steps.tolist() == list(range(count))
    assert curves.last() == {"score": count - 1.0}
