"""Every model under every strategy: fused, resumed and alone a trial is the same, bit for bit."""

import dataclasses
import itertools

import numpy as np
import pytest

from tasks.datasets.dataset import Split, make_dataset
from tasks.events import Checkpoint, Curve, Outcome, Result
from tasks.fused.problem import Problem
from tasks.losses import LOSSES, Softmax
from tasks.models import MODELS, ConvNet, Mlp
from tasks.optimizers import OPTIMIZERS, Adam
from tasks.regularizers import L1, L2
from tasks.strategies import STRATEGIES
from tasks.strategies.plain_descent import PlainDescent
from tasks.strategies.row_descent import RowDescent
from tasks.strategies.scaled_descent import ScaledDescent
from tasks.studies.train import Train
from tasks.trial import Trial
from tests.tasks.backends import OTHERS, distance, like_of
from tests.tasks.groups import STEADY, groups, rates

ROWS = {
    **{name: kind() for name, kind in MODELS.items()},
    "mlp": Mlp(hidden=(11, 6), activation="tanh"),
    "convnet": ConvNet(channels=(5, 7)),
}
PAIRS = list(itertools.product(STRATEGIES, (32, None)))
RATES = rates(random=1.0, local=1e-2, gradient=1e-2, lbfgs=1.0)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(5)
    prototypes = rng.uniform(40, 215, size=(4, 192))

    def split(count):
        labels = rng.integers(4, size=count)
        pixels = np.clip(prototypes[labels] + rng.normal(0, 60, size=(count, 192)), 0, 255)
        return Split(images=pixels.astype(np.uint8), labels=labels)

    return make_dataset(
        name="images",
        train=split(150),
        test=split(40),
        classes=tuple("abcd"),
        image_shape=(3, 8, 8),
        validation=30,
        scaling="standard",
    )


def trial(model, strategy="gradient", **changes):
    settings = {"task": Train(), "model": ROWS[model], "strategy": STRATEGIES[strategy](), "loss": Softmax()}
    settings |= {"learning_rate": RATES[strategy], "batch_size": 32, "steps": 12, "evaluate_every": 6}
    return Trial(**settings | {"record_every": 2} | changes)


def followed(trials, dataset, **options):
    """Return of each trial its points and its result."""
    points, results = {}, {}
    for event in Train().run(trials, dataset, **{"threads": 1} | options):
        if isinstance(event, Curve):
            for name, values in event.metrics.items():
                points.setdefault(event.trial, {}).update(
                    ((name, int(step)), float(value)) for step, value in zip(event.steps, values, strict=True)
                )
        if isinstance(event, Result):
            results[event.trial] = event
    return [(points[k], results[k]) for k in sorted(results)]


def assert_same_bits(one, other, *, since=0):
    assert {at: value for at, value in one[0].items() if at[1] > since} == {
        at: value for at, value in other[0].items() if at[1] > since
    }
    assert one[1].metrics == other[1].metrics
    assert one[1].outcome is other[1].outcome
    assert one[1].arrays.keys() == other[1].arrays.keys()
    for name, array in one[1].arrays.items():
        np.testing.assert_array_equal(array, other[1].arrays[name])


def mixed(model, strategy, **changes):
    """Return trials that differ in all that may differ inside a group."""
    rows = itertools.product([kind() for kind in LOSSES.values()], [(L2(), 0.0), (L1(), 1e-3)], [0, 1])
    return [
        trial(model, strategy, loss=loss, regularizer=regularizer, regularization=strength, seed=seed, **changes)
        for loss, (regularizer, strength), seed in rows
    ]


@pytest.mark.parametrize(
    ("strategy", "batch_size"),
    [(name, size) for name in STRATEGIES for size in (32, None) if (name, size) != ("lbfgs", 32)],
)
@pytest.mark.parametrize("model", ROWS)
def test_fused_is_alone(images, model, strategy, batch_size):
    for trials in groups(mixed(model, strategy, batch_size=batch_size)):
        fused = followed(trials, images)
        for one, together in list(zip(trials, fused, strict=True))[::3]:
            assert_same_bits(followed([one], images)[0], together)
        # and with other threads
        for one, other in zip(fused, followed(trials, images, threads=3), strict=True):
            assert_same_bits(one, other)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", ROWS)
def test_every_optimizer_fused_clipped_and_not_is_alone(images, model, optimizer):
    for clip in (None, 0.5):
        trials = [trial(model, optimizer=OPTIMIZERS[optimizer](), seed=seed, clip=clip) for seed in (0, 1, 2)]
        for one, together in zip(trials, followed(trials, images), strict=True):
            assert_same_bits(followed([one], images)[0], together)


@pytest.mark.parametrize("strategy", STEADY)
@pytest.mark.parametrize("model", ROWS)
def test_a_resumed_trial_is_an_uninterrupted_one_and_a_diverged_neighbour_costs_no_bit(images, model, strategy):
    # given trials one of which diverges where it can
    rates = [RATES[strategy], 1e30, 2 * RATES[strategy]]
    trials = [trial(model, strategy, learning_rate=rate, optimizer=Adam(), seed=k) for k, rate in enumerate(rates)]
    trials = [dataclasses.replace(t, loss=LOSSES["squared_hinge"]()) for t in trials]
    whole = followed(trials, images)
    assert (whole[1][1].outcome is Outcome.DIVERGED) is (strategy != "random")
    events = list(Train().run(trials, images, threads=1, checkpoint_every=6))
    checkpoint = next(event for event in events if isinstance(event, Checkpoint))
    # when the group goes on from a checkpoint, with those that had not ended
    resumed = followed(trials, images, start=checkpoint)
    running = [whole[k] for k in sorted(checkpoint.trials.tolist())]
    for one, other in zip(resumed, running, strict=True):
        assert_same_bits(one, other, since=6)
    # and without the one that diverges
    for one, other in zip(followed([trials[0], trials[2]], images), (whole[0], whole[2]), strict=True):
        assert_same_bits(one, other)


@pytest.mark.parametrize("descent", [ScaledDescent, RowDescent])
@pytest.mark.parametrize("model", ROWS)
def test_fast_steps_are_those_of_the_textbook(images, model, descent, monkeypatch):
    # given a cache so small that a trial's matrix is updated in several parts
    monkeypatch.setattr("tasks.fused.problem._CACHED_NUMBERS", 200)
    # and trials whose weights decay fast and slowly, and not at all
    rows = [{"regularization": 1e-2}, {"regularization": 5.0}, {"regularizer": L1(), "regularization": 1e-2}, {}]
    trials = sorted((trial(model, **row) for row in rows), key=lambda t: type(t.regularizer).__name__)
    problem = Problem.of(trials, images, like=np.empty(0), threads=1)
    weights, steps = problem.initial_weights([1.0] * 4), range(1, 9)
    ends = []
    for kind in (PlainDescent, descent):
        steady = kind(problem, kind.init(problem, weights), steps)
        told = [steady.step(number, norms=True) for number in range(len(steps))]
        ends.append((steady.state()["weights"], *(np.array([step[part] for step in told]) for part in (0, 1))))
    for plain, fast in zip(*ends, strict=True):
        np.testing.assert_allclose(fast, plain, rtol=1e-7, atol=1e-11)


@pytest.mark.parametrize("model", ROWS)
def test_every_model_learns(images, model):
    settings = {"steps": 150, "evaluate_every": 150, "learning_rate": 3e-2 if model != "linear" else 1e-3}
    ((_, result),) = followed([trial(model, **settings)], images)
    assert result.outcome is Outcome.COMPLETE
    assert result.metrics["test/accuracy"] > 0.8


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("strategy", STEADY)
@pytest.mark.parametrize("model", ROWS)
def test_training_is_that_of_numpy(images, model, strategy, backend):
    like = like_of(backend)
    trials = [trial(model, strategy, seed=seed) for seed in (0, 1)]
    for one, other in zip(followed(trials, images, like=like), followed(trials, images), strict=True):
        for at, value in other[0].items():
            assert one[0][at] == pytest.approx(value, rel=1e-3, abs=1e-2, nan_ok=True), at
        for name, array in other[1].arrays.items():
            assert distance(one[1].arrays[name], array) < 1e-3
