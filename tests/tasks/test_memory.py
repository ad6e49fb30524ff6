import dataclasses
import tracemalloc

import numpy as np
import pytest

from tasks.arrays.devices import DEVICE_BLOCKS, HOST_BLOCKS
from tasks.datasets import DATASETS
from tasks.datasets.dataset import Split, make_dataset
from tasks.fused.batches import Minibatches
from tasks.losses import Softmax
from tasks.memory import Sizes, bytes_of_group, widest_group
from tasks.models import MODELS, ConvNet, Mlp
from tasks.optimizers import OPTIMIZERS, Adam
from tasks.strategies import STRATEGIES, GradientDescent, Lbfgs
from tasks.studies.landscape import Landscape
from tasks.studies.train import Train
from tasks.trial import Trial
from tests.tasks.groups import STEADY

UPDATES = {"adam": {"optimizer": Adam()}, "clipped": {"clip": 1.0}, "clipped adam": {"optimizer": Adam(), "clip": 1.0}}
UPDATES |= {name: {"optimizer": OPTIMIZERS[name]()} for name in ("sgd", "nesterov")}


def trials(count, strategy, **changes):
    settings = {"task": Train(), "strategy": STRATEGIES[strategy](), "steps": 12, **changes}
    return [Trial(learning_rate=1e-6 + 1e-9 * k, **settings) for k in range(count)]


def of_many_seeds(group):
    """Return the trials with a seed each."""
    return [dataclasses.replace(trial, seed=seed) for seed, trial in enumerate(group)]


def peak(group, dataset, *, threads=1):
    """Return the most memory that computing a group takes."""
    tracemalloc.start()
    try:
        list(group[0].task.run(group, dataset, threads=threads))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def added(make, dataset):
    """Return the memory that a trial adds to a group: a twentieth of what 20 trials more take."""
    peak(make(1), dataset)  # what the first call leaves behind is no trial's
    return (peak(make(40), dataset) - peak(make(20), dataset)) / 20


def said(trial, dataset, *, threads=1):
    """Return the bytes that a trial adds to its group, as its strategy says."""
    return trial.strategy.bytes_per_trial(trial, Sizes.of([trial], dataset, blocks=HOST_BLOCKS, threads=threads))


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize(("features", "batch_size"), [(1000, 64), (20, 1500), (20, None)])
def test_a_trial_adds_the_bytes_that_the_model_says(features, batch_size, update):
    # given images with many pixels and few examples a step, where weights count, and the reverse
    dataset = DATASETS["synthetic"](examples=3000, features=features, validation=0).load()
    changes = {**UPDATES[update], "batch_size": batch_size, "evaluate_every": 4}
    # when 20 trials more are trained
    more = added(lambda count: trials(count, "gradient", **changes), dataset)
    # then each took what the model says, or somewhat less
    bytes_said = said(trials(1, "gradient", **changes)[0], dataset)
    assert 0.5 * bytes_said < more < 1.05 * bytes_said


def test_threads_that_share_the_blocks_of_a_step_take_those_that_they_compute_at_once():
    dataset = DATASETS["synthetic"](examples=7000, features=20, validation=0).load()
    group = trials(40, "gradient", batch_size=None, steps=4)
    peak(group[:1], dataset, threads=3)
    # the whole, and no difference of two: whether the threads are at their peaks together is chance
    whole = bytes_of_group(group, dataset, blocks=HOST_BLOCKS, threads=3)
    assert peak(group, dataset, threads=3) < 1.05 * whole
    assert said(group[0], dataset, threads=3) > 2 * said(group[0], dataset)
    alone, shared = (
        widest_group(group, dataset, available=2**28, blocks=HOST_BLOCKS, threads=threads) for threads in (1, 3)
    )
    assert shared < alone / 2


def test_an_evaluation_of_more_examples_than_a_step_has_counts():
    # given steps of 8 examples, and 3000 to be tested on
    dataset = DATASETS["synthetic"](examples=500, features=20, test_examples=3000, validation=0).load()
    group = trials(20, "gradient", model=Mlp(hidden=(100,)), batch_size=8, steps=4)
    peak(group[:1], dataset)
    bytes_said = bytes_of_group(group, dataset, blocks=HOST_BLOCKS)
    assert 0.3 * bytes_said < peak(group, dataset) < 1.05 * bytes_said


@pytest.mark.parametrize("clip", [None, 1.0])
def test_trials_of_several_update_rules_each_take_the_state_of_all(clip):
    dataset = DATASETS["synthetic"](examples=3000, features=1000, validation=0).load()
    rules = [OPTIMIZERS[name]() for name in ("momentum", "adam")]
    group = trials(40, "gradient", batch_size=64, evaluate_every=4, clip=clip)
    group = [dataclasses.replace(trial, optimizer=rules[k % 2]) for k, trial in enumerate(group)]
    peak(group[:2], dataset)
    bytes_said = bytes_of_group(group, dataset, blocks=HOST_BLOCKS)
    assert bytes_said > bytes_of_group([group[1]] * 40, dataset, blocks=HOST_BLOCKS)  # adam alone
    assert 0.5 * bytes_said < peak(group, dataset) < 1.05 * bytes_said
    alike, mixed = (
        widest_group(some, dataset, available=2**28, blocks=HOST_BLOCKS, threads=1) for some in (group[1::2], group)
    )
    assert mixed < alike


def test_the_longest_history_of_a_group_counts_wherever_it_stands():
    dataset = DATASETS["synthetic"](examples=200, features=2000, validation=0).load()
    group = [
        Trial(task=Train(), strategy=Lbfgs(history=history), loss=Softmax(), batch_size=None, steps=120)
        for history in (1, 100)
    ]
    peak(group[:1], dataset)
    bytes_said = bytes_of_group(group, dataset, blocks=HOST_BLOCKS)
    assert 0.5 * bytes_said < peak(group, dataset) < 1.05 * bytes_said
    assert bytes_of_group(group[::-1], dataset, blocks=HOST_BLOCKS) == bytes_said


@pytest.mark.parametrize("strategy", STEADY)
def test_every_strategy_on_minibatches_adds_them_too(strategy):
    dataset = DATASETS["synthetic"](examples=3000, features=20, validation=0).load()
    more = added(lambda count: trials(count, strategy, batch_size=1500), dataset)
    bytes_said = said(trials(1, strategy, batch_size=1500)[0], dataset)
    assert 0.5 * bytes_said < more < 1.05 * bytes_said


@pytest.mark.parametrize("strategy", ["random", "local"])
def test_a_search_of_as_many_seeds_as_trials_adds_no_more(strategy):
    # given a network whose weights count, and few examples
    dataset = DATASETS["synthetic"](examples=300, features=1000, test_examples=50, validation=0).load()
    changes = {"model": Mlp(hidden=(100,)), "batch_size": 32, "steps": 6}
    more = added(lambda count: of_many_seeds(trials(count, strategy, **changes)), dataset)
    bytes_said = said(trials(1, strategy, **changes)[0], dataset)
    assert 0.5 * bytes_said < more < 1.05 * bytes_said


@pytest.mark.parametrize("strategy", ["random", "local"])
def test_a_network_searched_on_all_examples_has_one_candidate_at_a_time(strategy):
    dataset = DATASETS["synthetic"](examples=300, features=1000, test_examples=50, validation=0).load()
    group = of_many_seeds(trials(4, strategy, model=Mlp(hidden=(100,)), batch_size=None, steps=6))
    peak(group[:1], dataset)
    bytes_said = bytes_of_group(group, dataset, blocks=HOST_BLOCKS)
    assert 0.3 * bytes_said < peak(group, dataset) < 1.05 * bytes_said


@pytest.mark.parametrize("features", [20, 1000])
@pytest.mark.parametrize("strategy", ["random", "local"])
def test_a_search_in_score_space_of_as_many_seeds_as_trials_takes_no_more(strategy, features):
    # given more seeds than candidates that a block has at most: each has whole panels of them
    dataset = DATASETS["synthetic"](examples=60_000 // features, features=features, validation=0).load()
    group = of_many_seeds(trials(128, strategy, batch_size=None))
    peak(group[:1], dataset)
    assert peak(group, dataset) < bytes_of_group(group, dataset, blocks=HOST_BLOCKS)


@pytest.mark.parametrize("strategy", STEADY)
@pytest.mark.parametrize(
    "model",
    [*(kind() for kind in MODELS.values()), Mlp(hidden=(300,)), ConvNet(channels=(16,))],
    ids=lambda m: f"{m}",
)
def test_a_group_takes_the_bytes_that_the_model_of_memory_says(model, strategy):
    # given images of CIFAR-10's size
    rng = np.random.default_rng(0)
    split = Split(images=rng.integers(0, 256, (300, 3072), dtype=np.uint8), labels=np.arange(300) % 10)
    dataset = make_dataset(
        name="d", train=split, test=split, classes=tuple("abcdefghij"), image_shape=(3, 32, 32), validation=0
    )
    group = of_many_seeds(trials(4, strategy, model=model, batch_size=256, steps=2))
    peak(group[:1], dataset)  # what the first call leaves behind is no trial's
    for count in (1, 4):
        # when they are trained, then the peak is what is said, or less: a search goes forward only
        bytes_said = bytes_of_group(group[:count], dataset, blocks=HOST_BLOCKS)
        assert 0.3 * bytes_said < peak(group[:count], dataset) < 1.05 * bytes_said, count


def test_on_the_host_the_minibatches_of_a_stretch_are_views_of_their_order(small_dataset):
    minibatches = Minibatches(small_dataset.train, 64, 0)

    batch = minibatches.over(range(1, 3))(1)

    assert batch.index.tolist() == minibatches.at(2).index.tolist()
    assert np.shares_memory(batch.index, minibatches.at(2).index)


@pytest.mark.parametrize("changes", [{}, {"batch_size": None}, {"clip": 1.0}])
def test_on_a_device_the_order_of_a_stretch_counts_where_steps_are_replayed(changes):
    dataset = DATASETS["synthetic"](examples=8000, features=4, test_examples=50, validation=0).load()
    (trial,) = trials(1, "gradient", **{"batch_size": 6000, "steps": 600, "evaluate_every": 600, **changes})

    fixed = trial.strategy.fixed_bytes(trial, Sizes.of([trial], dataset, blocks=DEVICE_BLOCKS))

    assert fixed == (0 if changes else 500 * 6000 * 8)


def test_what_a_study_takes_is_not_said():
    (trial,) = trials(1, "gradient", task=Landscape())
    assert bytes_of_group([trial], DATASETS["digits"]().load(), blocks=HOST_BLOCKS) == 0


@pytest.mark.parametrize(("batch_size", "available"), [(64, 2**24), (None, 2**28)])
@pytest.mark.parametrize("seeds", [1, 3, 1000])
@pytest.mark.parametrize("strategy", STEADY)
def test_the_widest_group_fits_and_one_trial_more_does_not(small_dataset, strategy, seeds, batch_size, available):
    # given trials of few seeds or many, and little memory
    group = trials(1000, strategy, batch_size=batch_size)
    group = [dataclasses.replace(trial, seed=k % seeds) for k, trial in enumerate(group)]
    splits = (small_dataset.train, small_dataset.validation, small_dataset.test)
    data = sum(split.images.nbytes + split.labels.nbytes for split in splits)

    def taken(count):
        return data + bytes_of_group(group[:count], small_dataset, blocks=HOST_BLOCKS)

    # when the width is chosen, then it is the largest that fits
    width = widest_group(group, small_dataset, available=available, blocks=HOST_BLOCKS, threads=1)
    assert taken(width) <= 0.8 * available < taken(width + 1)


@pytest.mark.parametrize("batch_size", [64, None])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_widest_group_grows_with_the_memory_and_has_a_trial_at_least(small_dataset, strategy, batch_size):
    (trial,) = trials(1, strategy, batch_size=batch_size)
    given = {"blocks": DEVICE_BLOCKS, "threads": 1}
    widths = [widest_group([trial], small_dataset, available=2**power, **given) for power in (10, 30, 34)]
    assert 1 == widths[0] < widths[1] < widths[2]
    if isinstance(trial.strategy, GradientDescent):
        assert widths[2] == pytest.approx(16 * widths[1], rel=0.1)
