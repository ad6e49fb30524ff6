import itertools

import pytest

from pipeline.config.schema import parse
from pipeline.plan.plan import WIDEST, Point, make_plan
from tasks.cost import DataSize, multiplications
from tasks.datasets import Synthetic


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


def test_points_that_are_the_same_trial_are_folded(dataset):
    points = grid(strategy=["random", "local"], learning_rate=[0.1, 0.2])

    plan = make_plan(points, dataset, workers=2)

    assert plan.folded == {1: 0}
    assert [trial.index for trial in plan.trials] == [0, 2, 3]


def test_only_trials_that_share_arithmetic_share_a_group(dataset):
    points = grid(batch_size=[16, 64], optimizer=["sgd", "adam"], learning_rate=[0.1, 0.2])

    groups = make_plan(points, dataset, workers=1).groups

    assert len(groups) == 4
    for group in groups:
        assert len({(trial.trial.batch_size, trial.trial.optimizer) for trial in group.trials}) == 1


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 7, 12, 48, 500])
def test_every_trial_is_in_one_group_that_is_wide_enough(dataset, workers, count):
    plan = make_plan(grid(seed=range(count)), dataset, workers=workers)

    assert sorted(trial.index for group in plan.groups for trial in group.trials) == list(range(count))
    for group in plan.groups:
        assert len(group.trials) <= WIDEST


def test_a_large_group_is_split_until_all_workers_are_busy(dataset):
    assert len(make_plan(grid(seed=range(48)), dataset, workers=1).groups) == 1
    assert len(make_plan(grid(seed=range(48)), dataset, workers=4).groups) == 4


def test_a_group_is_not_split_where_that_saves_no_time(dataset):
    # given few trials, whose examples cost more to read than their arithmetic
    assert len(make_plan(grid(seed=range(2)), dataset, workers=1).groups) == 1
    assert len(make_plan(grid(seed=range(8)), dataset, workers=64).groups) == 8


def test_unequal_groups_are_split_until_the_workers_end_together(dataset):
    groups = make_plan(grid(batch_size=[64, 256], seed=range(24)), dataset, workers=2).groups
    assert [len(group.trials) for group in groups] == [12, 12, 12, 12]


def test_the_longest_group_comes_first(dataset):
    groups = make_plan(grid(batch_size=[16, 64, None], seed=range(4)), dataset, workers=1).groups

    costs = [multiplications(group.trials[0].trial, DataSize.of(dataset)) for group in groups]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == 3


def test_a_network_counts_for_as_many_trials_as_its_products_are_larger(dataset):
    # given a linear model of 39 weights and a network of 13,350 on the same minibatches
    models = [{"name": "linear"}, {"name": "mlp", "hidden": [1000]}]
    groups = make_plan(grid(model=models, seed=range(8)), dataset, workers=2).groups

    # then the workers share the networks, and all linear models are one group that comes last
    assert [(group.trials[0].config["model"]["name"], len(group.trials)) for group in groups] == [
        ("mlp", 4),
        ("mlp", 4),
        ("linear", 8),
    ]


def test_groups_are_as_wide_as_the_device_allows(dataset):
    groups = make_plan(grid(seed=range(300)), dataset, workers=1, widest=lambda trials: 100).groups
    assert [len(group.trials) for group in groups] == [100, 100, 100]
    assert len(make_plan(grid(seed=range(300)), dataset, workers=1, widest=lambda trials: 512).groups) == 1
