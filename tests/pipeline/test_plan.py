import dataclasses
import itertools

import numpy as np
import pytest

from pipeline.config import settings
from pipeline.config.schema import parse
from pipeline.config.settings import SweptValues, used_values
from pipeline.plan.plan import WIDEST, Point, Progress, Segment, fuse, make_plan
from tasks.cost import DataSize, cost
from tasks.datasets import Synthetic
from tasks.events import Checkpoint, Curve
from tasks.studies.train import Train


@pytest.fixture(scope="module")
def dataset():
    return Synthetic(examples=300, test_examples=20, features=12, classes=3, validation=20).load()


def grid(**swept):
    jobs = itertools.product(*([(name, value) for value in values] for name, values in swept.items()))
    points = []
    for index, job in enumerate(jobs):
        values = {name: {"name": value} if name in ("strategy", "optimizer") else value for name, value in job}
        overrides = tuple(f"{name}={value}" for name, value in job)
        points.append(Point(index=index, overrides=overrides, config=parse(values)))
    return points


def groups_of(points, dataset, *, size=None, **options):
    segments = [Segment(trial=trial) for trial in make_plan(points, dataset).trials]
    return fuse(segments, size or DataSize.of(dataset), **options)


def test_points_that_are_the_same_trial_are_folded(dataset):
    points = grid(strategy=["random", "local"], learning_rate=[0.1, 0.2])

    plan = make_plan(points, dataset)

    assert plan.folded == {1: 0}
    assert [trial.index for trial in plan.trials] == [0, 2, 3]


def test_a_batch_is_named_by_what_differs_from_the_trials_before_which_are_not_read_again(dataset, monkeypatch):
    points = grid(batch_size=[16, 64], learning_rate=[0.1, 0.2])
    known = make_plan(points[:2], dataset).trials
    swept, read = SweptValues(used_values(one.trial) for one in known), []
    monkeypatch.setattr(settings, "used_values", lambda trial: read.append(trial) or used_values(trial))

    (third,) = make_plan(points[2:3], dataset, known=known, swept=swept).trials
    (fourth,) = make_plan(points[3:], dataset, known=(*known, third), swept=swept).trials

    assert [third.name, fourth.name] == ["gradient lr=0.1 batch=64", "gradient lr=0.2 batch=64"]
    assert read == [third.trial, fourth.trial]


def test_only_trials_that_share_arithmetic_share_a_group(dataset):
    points = grid(batch_size=[16, 64], optimizer=["sgd", "adam"], learning_rate=[0.1, 0.2])

    groups = groups_of(points, dataset, workers=1)

    assert len(groups) == 4
    for group in groups:
        assert len({(trial.trial.batch_size, trial.trial.optimizer) for trial in group.trials}) == 1


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 7, 12, 48, 500])
def test_every_trial_is_in_one_group_that_is_wide_enough(dataset, workers, count):
    groups = groups_of(grid(seed=range(count)), dataset, workers=workers)

    assert sorted(trial.index for group in groups for trial in group.trials) == list(range(count))
    for group in groups:
        assert len(group.trials) <= WIDEST


def test_a_large_group_is_split_until_all_workers_are_busy(dataset):
    assert len(groups_of(grid(seed=range(48)), dataset, workers=1)) == 1
    assert len(groups_of(grid(seed=range(48)), dataset, workers=4)) == 4


def test_a_group_is_not_split_where_that_saves_no_time(dataset):
    # given few trials, whose examples cost more to read than their arithmetic
    assert len(groups_of(grid(seed=range(2)), dataset, workers=1)) == 1
    assert len(groups_of(grid(seed=range(8)), dataset, workers=64)) == 8


def test_trials_of_a_seed_stay_together(dataset):
    groups = groups_of(grid(learning_rate=[0.1, 0.2, 0.3], seed=range(4)), dataset, workers=2)

    seeds = [[trial.trial.seed for trial in group.trials] for group in groups]
    assert seeds == [[0, 0, 0, 1, 1, 1], [2, 2, 2, 3, 3, 3]]


def test_unequal_groups_are_split_until_the_workers_end_together(dataset):
    points, large = grid(batch_size=[64, 256], seed=range(24)), DataSize(45_000, 5_000, 10_000, (3, 32, 32), 10)

    assert [len(one.trials) for one in groups_of(points, dataset, size=large, workers=2)] == [12, 12, 12, 12]
    # of small data a step is as long for a few trials as for many
    assert [len(one.trials) for one in groups_of(points, dataset, workers=2)] == [24, 24]


def test_the_longest_group_comes_first(dataset):
    groups = groups_of(grid(batch_size=[16, 64, None], seed=range(4)), dataset, workers=1)

    costs = [cost([one.trial for one in group.trials], DataSize.of(dataset)).of(4) for group in groups]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == 3


def test_what_is_left_of_a_trial_counts(dataset):
    # given trials of large minibatches with one step in ten left, or none, beside those that begin with smaller ones
    def at(step):
        return Progress(checkpoint=Checkpoint(step=step, trials=np.arange(1), arrays={"weights": np.ones((1, 39))}))

    trials = make_plan(grid(batch_size=[100, 50, 20], seed=range(2)), dataset).trials
    starts = [at(900)] * 2 + [None] * 2 + [at(1000)] * 2
    segments = [Segment(trial=trial, start=start) for trial, start in zip(trials, starts, strict=True)]

    groups = fuse(segments, DataSize.of(dataset), workers=1)

    assert [group.trials[0].trial.batch_size for group in groups] == [50, 100, 20]
    short = [dataclasses.replace(one, until=100) for one in segments[2:4]]
    groups = fuse([*segments[:2], *short], DataSize.of(dataset), workers=1)
    assert [group.trials[0].trial.batch_size for group in groups] == [100, 50]


def test_a_network_counts_for_as_many_trials_as_its_products_are_larger(dataset):
    # given a linear model of 39 weights and a network of 13,350 on the same minibatches
    models = [{"name": "linear"}, {"name": "mlp", "hidden": [1000]}]
    groups = groups_of(grid(model=models, seed=range(8)), dataset, workers=2)

    # then the workers share the networks, and all linear models are one group that comes last
    assert [(group.trials[0].config["model"]["name"], len(group.trials)) for group in groups] == [
        ("mlp", 4),
        ("mlp", 4),
        ("linear", 8),
    ]


def test_groups_are_as_wide_as_the_device_allows(dataset):
    groups = groups_of(grid(seed=range(300)), dataset, workers=1, widest=lambda trials: 100)
    assert [len(group.trials) for group in groups] == [100, 100, 100]
    assert len(groups_of(grid(seed=range(300)), dataset, workers=1, widest=lambda trials: 512)) == 1


def test_trials_that_go_on_are_fused_with_those_at_the_same_step_and_keep_their_points(dataset):
    def at(step, *, reported):
        checkpoint = Checkpoint(step=step, trials=np.arange(1), arrays={"weights": np.ones((1, 39))})
        curve = Curve(trial=0, steps=np.array([step]), metrics={"train/loss": np.ones(1)})
        return Progress(checkpoint=checkpoint, curves=(curve,), reported=reported)

    starts = [at(20, reported=True), at(20, reported=False), at(30, reported=True)]
    trials = make_plan(grid(seed=range(3)), dataset).trials
    segments = [Segment(trial=trial, start=start, until=40) for trial, start in zip(trials, starts, strict=True)]

    groups = {group.start.checkpoint.step: group for group in fuse(segments, DataSize.of(dataset), workers=1)}

    assert {step: [trial.index for trial in group.trials] for step, group in groups.items()} == {20: [0, 1], 30: [2]}
    assert [curve.trial for curve in groups[20].start.curves] == [0, 1]
    assert (groups[20].start.reported, groups[30].start.reported) == (False, True)
    assert Progress.join([starts[0], starts[0]]).reported


def test_trials_that_pause_at_other_steps_or_do_another_task_are_not_fused(dataset):
    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Other(Train):
        pass

    one, later, other = make_plan(grid(seed=range(3)), dataset).trials
    other = dataclasses.replace(other, trial=dataclasses.replace(other.trial, task=Other()))
    segments = [
        Segment(trial=one, until=20),
        Segment(trial=later, until=40),
        Segment(trial=other, until=20),
    ]

    groups = fuse(segments, DataSize.of(dataset), workers=1)

    found = sorted((group.trials[0].index, len(group.trials), group.until) for group in groups)
    assert found == [(0, 1, 20), (1, 1, 40), (2, 1, 20)]


def test_of_trials_that_cost_the_same_the_larger_group_comes_first(dataset):
    groups = groups_of(grid(data_seed=[0, 1], seed=range(8))[6:], dataset, workers=1)

    assert [len(group.trials) for group in groups] == [8, 2]


def test_the_progress_of_some_trials_of_a_group_is_theirs_in_the_order_that_is_asked_for():
    weights = np.arange(3.0)[:, None]
    checkpoint = Checkpoint(step=10, trials=np.arange(3), arrays={"weights": weights})
    curves = [Curve(trial=k, steps=np.array([10]), metrics={"train/loss": weights[k]}) for k in range(3)]

    some = Progress(checkpoint=checkpoint, curves=tuple(curves)).of_trials([2, 0])

    rows = zip(some.checkpoint.trials.tolist(), some.checkpoint.arrays["weights"].ravel().tolist(), strict=True)
    assert dict(rows) == {0: 2.0, 1: 0.0}
    assert {curve.trial: float(curve.metrics["train/loss"][0]) for curve in some.curves} == {0: 2.0, 1: 0.0}
