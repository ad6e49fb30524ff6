import dataclasses
import tracemalloc

import numpy as np
import pytest

from tasks.arrays.devices import DEVICE_BLOCKS, HOST_BLOCKS
from tasks.datasets import DATASETS
from tasks.datasets.dataset import Split, make_dataset
from tasks.memory import bytes_of_group, bytes_per_trial, widest_group
from tasks.models import MODELS, ConvNet, Mlp
from tasks.optimizers import OPTIMIZERS
from tasks.strategies import STRATEGIES, GradientDescent
from tasks.studies.train import Train
from tasks.trial import Trial
from tests.tasks.groups import STEADY


def trials(count, strategy, **changes):
    settings = {"task": Train(), "strategy": STRATEGIES[strategy](), "steps": 12, **changes}
    return [Trial(learning_rate=1e-6 + 1e-9 * k, **settings) for k in range(count)]


def peak(group, dataset):
    """Return the most memory that training a group takes."""
    tracemalloc.start()
    try:
        list(Train().run(group, dataset, threads=1))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(("features", "batch_size"), [(1000, 64), (20, 1500), (20, None)])
def test_a_trial_adds_the_bytes_that_the_model_says(features, batch_size, optimizer):
    # given images with many pixels and few examples a step, where weights count, and the reverse
    dataset = DATASETS["synthetic"](examples=3000, features=features, validation=0).load()
    changes = {"optimizer": OPTIMIZERS[optimizer](), "batch_size": batch_size, "evaluate_every": 4}
    peak(trials(1, "gradient", **changes), dataset)  # what the first call leaves behind is no trial's
    # when 20 trials more are trained
    more = peak(trials(40, "gradient", **changes), dataset) - peak(trials(20, "gradient", **changes), dataset)
    # then each took what the model says, or somewhat less
    said = bytes_per_trial(trials(1, "gradient", **changes)[0], dataset, blocks=HOST_BLOCKS)
    assert 0.6 * said < more / 20 < 1.05 * said


@pytest.mark.parametrize("strategy", STEADY)
def test_every_strategy_on_minibatches_adds_them_too(strategy):
    dataset = DATASETS["synthetic"](examples=3000, features=20, validation=0).load()
    peak(trials(1, strategy, batch_size=1500), dataset)
    more = peak(trials(40, strategy, batch_size=1500), dataset) - peak(trials(20, strategy, batch_size=1500), dataset)
    said = bytes_per_trial(trials(1, strategy, batch_size=1500)[0], dataset, blocks=HOST_BLOCKS)
    assert 0.6 * said < more / 20 < 1.05 * said


@pytest.mark.parametrize("strategy", STEADY)
@pytest.mark.parametrize(
    "model",
    [*(kind() for kind in MODELS.values()), Mlp(hidden=(300,)), ConvNet(channels=(16,))],
    ids=lambda m: f"{m}",
)
def test_a_group_takes_the_bytes_that_the_model_of_memory_says(model, strategy):
    # given images of CIFAR-10's size
    rng = np.random.default_rng(0)
    split = Split(images=rng.integers(0, 256, (600, 3072), dtype=np.uint8), labels=np.arange(600) % 10)
    dataset = make_dataset(
        name="d", train=split, test=split, classes=tuple("abcdefghij"), image_shape=(3, 32, 32), validation=0
    )
    group = trials(6, strategy, model=model, batch_size=256)
    group = [dataclasses.replace(trial, steps=2) for trial in group]
    peak(group[:1], dataset)  # what the first call leaves behind is no trial's
    for count in (1, 6):
        # when they are trained, then the peak is what is said, or less: a search goes forward only
        said = bytes_of_group(group[0], dataset, count=count, blocks=HOST_BLOCKS)
        assert 0.4 * said < peak(group[:count], dataset) < 1.2 * said, count


@pytest.mark.parametrize("batch_size", [64, None])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_widest_group_grows_with_the_memory_and_has_a_trial_at_least(small_dataset, strategy, batch_size):
    (trial,) = trials(1, strategy, batch_size=batch_size)
    widths = [widest_group(trial, small_dataset, available=2**power, blocks=DEVICE_BLOCKS) for power in (10, 30, 34)]
    assert 1 == widths[0] < widths[1] < widths[2]
    if isinstance(trial.strategy, GradientDescent):
        assert widths[2] == pytest.approx(16 * widths[1], rel=0.1)
