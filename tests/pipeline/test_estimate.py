"""What a dry run says of memory and time, of any model."""

import dataclasses

import numpy as np
import pytest

from pipeline.config.schema import parse
from pipeline.plan.estimate import sweep_seconds, worker_memory
from pipeline.plan.plan import Group, Point, Segment, fuse, make_plan
from tasks.arrays.devices import HOST_BLOCKS
from tasks.cost import DataSize
from tasks.datasets.dataset import Split, make_dataset
from tasks.memory import bytes_of_group


@pytest.fixture(scope="module")
def dataset():
    images = np.random.default_rng(0).integers(0, 256, (300, 3072), dtype=np.uint8)
    split = Split(images=images, labels=np.arange(300) % 10)
    classes = tuple("abcdefghij")
    return make_dataset(name="d", train=split, test=split, classes=classes, image_shape=(3, 32, 32), validation=0)


def groups_of(dataset, *models, count=4, workers=1, **settings):
    configs = [{"model": {"name": name}, "seed": seed, **settings} for name in models for seed in range(count)]
    points = [Point(index=k, overrides=(), config=parse(config)) for k, config in enumerate(configs)]
    segments = [Segment(trial=trial) for trial in make_plan(points, dataset).trials]
    return fuse(segments, DataSize.of(dataset), workers=workers)


def test_the_memory_is_that_of_the_most_demanding_group(dataset):
    groups = groups_of(dataset, "linear", "mlp", "convnet")

    said = {
        group.trials[0].config["model"]["name"]: bytes_of_group(
            [planned.trial for planned in group.trials], dataset, blocks=HOST_BLOCKS
        )
        for group in groups
    }
    assert worker_memory(groups, dataset, blocks=HOST_BLOCKS) == max(said.values())
    assert len(set(said.values())) == 3


def test_the_time_follows_the_products_of_the_model(dataset):
    linear, convnet = (
        sweep_seconds(groups_of(dataset, name), dataset, workers=1, speed=1e9) for name in ("linear", "convnet")
    )

    # four linear models of 30,730 multiplications an image, forward and backward, each with ten scores, and the pixels
    # of the image, which all of them share; at the end the test images, forward only
    shared = 4 * 10 * 200 + 3072 * 60
    steps, test = 1000 * (256 * (2 * 4 * 30_730 + shared) + 2**23), 300 * (4 * 30_730 + shared)
    assert linear == pytest.approx(2 * (steps + test) / 1e9)
    # the network has 10,400,000 multiplications an image
    shared += 2**23 / 256
    assert convnet / linear == pytest.approx((8 * 10_400_000 + shared) / (8 * 30_730 + shared), rel=0.05)


def seconds_of(dataset, **settings):
    return sweep_seconds(groups_of(dataset, "linear", **settings), dataset, workers=1, speed=1e9)


@pytest.mark.parametrize("strategy", ["random", "local"])
def test_trials_of_a_search_that_share_a_seed_and_all_examples_take_hardly_longer_than_one(dataset, strategy):
    settings = {"strategy": {"name": strategy}, "batch_size": None}
    alone = seconds_of(dataset, count=1, **settings)
    of_four_seeds = seconds_of(dataset, count=4, **settings)
    (four,) = groups_of(dataset, "linear", count=4, **settings)
    shared = [dataclasses.replace(one, trial=dataclasses.replace(one.trial, seed=0)) for one in four.trials]
    of_one_seed = sweep_seconds([Group(trials=tuple(shared))], dataset, workers=1, speed=1e9)

    assert of_four_seeds == pytest.approx(4 * alone, rel=0.05)
    assert alone < of_one_seed < 1.3 * alone


def test_a_search_has_no_backward_pass(dataset):
    descent, search = (seconds_of(dataset, count=40, strategy={"name": name}) for name in ("gradient", "local"))

    assert 0.5 < search / descent < 0.6


def test_an_evaluation_of_lbfgs_is_repeated_until_the_end_of_the_trial(dataset):
    settings = {"strategy": {"name": "lbfgs"}, "batch_size": None}
    once, often = (seconds_of(dataset, trial={"evaluate_every": every}, steps=100, **settings) for every in (100, 10))

    assert often / once == pytest.approx(5.5, rel=0.02)


def test_evaluations_count(dataset):
    validated = dataclasses.replace(dataset, validation=dataset.test)
    rarely, often = (seconds_of(validated, trial={"evaluate_every": every}) for every in (1000, 1))

    assert 1.5 < often / rarely < 2


def test_the_time_is_that_of_the_worker_that_ends_last(dataset):
    convnet, linear = groups_of(dataset, "convnet"), groups_of(dataset, "linear")

    alone, beside = (sweep_seconds(groups, dataset, workers=2, speed=1e9) for groups in (convnet, (*convnet, *linear)))

    assert beside == alone


def test_two_workers_take_half_the_time(dataset):
    one, two = (
        sweep_seconds(groups_of(dataset, "mlp", count=40, workers=workers), dataset, workers=workers, speed=1e9)
        for workers in (1, 2)
    )
    assert two / one == pytest.approx(0.5, abs=0.01)


def test_the_speed_is_measured_where_none_is_given(dataset):
    groups = groups_of(dataset, "linear")

    # a core does more than a million operations a second, and less than a million of millions
    assert 1e6 < sweep_seconds(groups, dataset, workers=1, speed=1.0) / sweep_seconds(groups, dataset, workers=1) < 1e12
