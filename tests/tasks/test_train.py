import dataclasses
import itertools

import numpy as np
import pytest

from tasks.datasets.dataset import Split
from tasks.errors import ConfigError
from tasks.events import Checkpoint, Curve, Outcome, Result
from tasks.fused.problem import Problem
from tasks.losses import LOSSES, Softmax, Svm
from tasks.models import Mlp
from tasks.optimizers import OPTIMIZERS, Momentum, Sgd
from tasks.regularizers import L1, L2
from tasks.schedules import SCHEDULES
from tasks.strategies import STRATEGIES
from tasks.studies.curves import Curves
from tasks.studies.train import Train
from tests.tasks import plain
from tests.tasks.groups import STEADY, groups
from tests.tasks.trainings import RATES, assert_same_arrays, assert_same_bits, by_trial, on_batches, run, trial


@pytest.mark.parametrize(("strategy", "batch_size"), on_batches(64, None, 1))
def test_fused_trials_equal_each_trial_alone_bit_for_bit(small_dataset, strategy, batch_size):
    # given trials that differ in all that may differ inside a group, with two evaluations
    losses, settings = [kind() for kind in LOSSES.values()], {"batch_size": batch_size, "steps": 30}
    trials = [
        trial(strategy, loss=loss, regularizer=regularizer, regularization=strength, seed=seed, **settings)
        for loss, (regularizer, strength), seed in itertools.product(losses, [(L2(), 0.0), (L1(), 1e-3)], [0, 1])
    ]
    trials.append(dataclasses.replace(trials[0], learning_rate=RATES[strategy] * 3, loss=Svm(margin=10.0)))
    # when they run fused and alone, then every bit is the same
    for group in groups(trials):
        fused = by_trial(*run(group, small_dataset))
        assert_same_bits(fused, [by_trial(*run([t], small_dataset))[0] for t in group])


@pytest.mark.parametrize("strategy", ["random", "local"])
def test_a_search_whose_minibatch_is_all_examples_is_the_same_alone_too(small_dataset, strategy):
    size = len(small_dataset.train)
    trials = [trial(strategy, loss=kind(), batch_size=size) for kind in LOSSES.values()]
    for group in groups(trials):
        fused = by_trial(*run(group, small_dataset))
        assert_same_bits(fused, [by_trial(*run([t], small_dataset))[0] for t in group])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fused_optimizers_equal_alone_bit_for_bit(small_dataset, optimizer):
    kind = OPTIMIZERS[optimizer]
    rows = [kind(), kind(**dict.fromkeys([field.name for field in dataclasses.fields(kind)], 0.25))]
    trials = [trial(optimizer=row, learning_rate=rate) for row in rows for rate in (1e-6, 1e-5)]
    fused = by_trial(*run(trials, small_dataset))
    assert_same_bits(fused, [by_trial(*run([t], small_dataset))[0] for t in trials])


def test_lbfgs_fused_resumed_and_alone_are_the_same_and_it_beats_sgd(small_dataset):
    # given L-BFGS on the full training set, of which one converges before its budget is spent
    rows = [STRATEGIES["lbfgs"](history=history) for history in (3, 10)]
    settings = {"batch_size": None, "loss": Softmax(), "regularization": 1e-2}
    trials = [dataclasses.replace(trial(**settings), strategy=row) for row in rows]
    fused = by_trial(*run(trials, small_dataset))
    assert_same_bits(fused, [by_trial(*run([t], small_dataset))[0] for t in trials])
    # when it goes on from a checkpoint, then it is the same
    events = list(Train().run(trials, small_dataset, threads=1, checkpoint_every=30))
    checkpoint = next(event for event in events if isinstance(event, Checkpoint))
    _, resumed = run(trials, small_dataset, start=checkpoint)
    for k, result in resumed.items():
        np.testing.assert_array_equal(result.arrays["weights"], fused[k][1].arrays["weights"])
    # and at equal cost it is further than plain descent at a good learning rate
    (sgd,) = by_trial(*run([trial(**settings)], small_dataset))
    assert fused[1][0]["train/loss"][60] < 0.5 * sgd[0]["train/loss"][60]


def test_the_weights_of_lbfgs_are_the_best_it_has_evaluated(small_dataset):
    # given a budget that ends where the line search has gone too far
    one = trial("lbfgs", batch_size=None, loss=Softmax(), regularization=1.0, steps=6, record_every=1)
    curves, results = run([one], small_dataset)
    losses = curves[0]["train/loss"]
    assert losses[6] > 2 * min(losses.values())
    found = plain.mean_loss(one, small_dataset, results[0].arrays["weights"])
    assert found == pytest.approx(min(losses.values()), rel=1e-4)


def test_lbfgs_wants_the_full_training_set(small_dataset):
    with pytest.raises(ConfigError, match="batch_size must be null for strategy=lbfgs, got 64"):
        Train().check(trial("lbfgs"), small_dataset)
    full = trial("lbfgs", batch_size=None)
    assert {"learning_rate", "schedule", "optimizer"} < Train().unused(full)


@pytest.mark.parametrize(("strategy", "batch_size"), [("gradient", 64), ("local", 64), ("local", None)])
def test_schedules_differ_inside_a_group(small_dataset, strategy, batch_size):
    trials = [trial(strategy, batch_size=batch_size, schedule=kind()) for kind in SCHEDULES.values()]
    fused = by_trial(*run(trials, small_dataset))
    assert_same_bits(fused, [by_trial(*run([t], small_dataset))[0] for t in trials])
    assert len({result.arrays["weights"].tobytes() for _, result in fused}) >= 4


@pytest.mark.parametrize(("strategy", "batch_size"), on_batches(64, None))
def test_threads_change_no_bit(small_dataset, strategy, batch_size):
    trials = [trial(strategy, batch_size=batch_size, seed=seed) for seed in range(2)]
    assert_same_bits(by_trial(*run(trials, small_dataset)), by_trial(*run(trials, small_dataset, threads=3)))


def points_of(events):
    """Return the points of all curves: their trial, their metric, and their step."""
    curves = [event for event in events if isinstance(event, Curve)]
    return {(curve.trial, name, step) for curve in curves for name in curve.metrics for step in curve.steps.tolist()}


@pytest.mark.parametrize("batch_size", [64, None])
@pytest.mark.parametrize("every", [7, 25])
@pytest.mark.parametrize(
    ("strategy", "optimizer"),
    [("gradient", Sgd()), ("gradient", Momentum()), ("local", Sgd()), ("random", Sgd())],
)
def test_a_run_resumed_from_any_checkpoint_is_the_uninterrupted_one(
    small_dataset, strategy, batch_size, every, optimizer
):
    # given an uninterrupted run of trials whose weights decay, one of which diverges in gradient descent
    settings = {"batch_size": batch_size, "optimizer": optimizer, "regularization": 2e3}
    trials = [trial(strategy, learning_rate=rate, **settings) for rate in (RATES[strategy], 1e30)]
    trials.append(trial(strategy, **settings | {"regularizer": L1(), "regularization": 1.0}))
    events = list(Train().run(trials, small_dataset, threads=1, checkpoint_every=every))
    curves, results = run(trials, small_dataset)
    checkpoints = [event for event in events if isinstance(event, Checkpoint)]
    assert [c.step for c in checkpoints] == list(range(every, 60, every))
    assert all(event.metrics for event in events if isinstance(event, Curve)), "a checkpoint has no point"
    assert points_of(events) == points_of(Train().run(trials, small_dataset, threads=1)), "nor an evaluation of its own"
    for checkpoint in checkpoints:
        # when it goes on from a checkpoint
        resumed = list(Train().run(trials, small_dataset, threads=1, start=checkpoint))
        ended = [event.trial for event in resumed if isinstance(event, Result)]
        assert sorted(ended) == sorted(checkpoint.trials.tolist()), "those that had not ended end"
        assert points_of(resumed) == {point for point in points_of(events) if point[2] > checkpoint.step}
        for event in resumed:
            # then all that comes after is the same, bit for bit
            if isinstance(event, Result):
                expected = results[event.trial]
                assert (event.metrics, event.step) == (expected.metrics, expected.step)
                assert_same_arrays(event, expected)
            else:
                for name, values in event.metrics.items():
                    expected = [curves[event.trial][name][int(step)] for step in event.steps]
                    np.testing.assert_array_equal(values, expected)


def test_a_diverged_trial_ends_alone(small_dataset):
    # given one trial whose steps overflow
    trials = [trial(learning_rate=1e-5), trial(learning_rate=1e36), trial(learning_rate=2e-5)]
    curves, results = run(trials, small_dataset)
    # then it says when, keeps the value, and its neighbours are untouched
    assert results[1].outcome is Outcome.DIVERGED
    last = max(curves[1]["train/loss"])
    assert last == results[1].step < 60
    assert not np.isfinite(curves[1]["train/loss"][last])
    assert "val/loss" not in curves[1]
    assert results[0].message == ""
    alone = [by_trial(*run([trials[k]], small_dataset))[0] for k in (0, 2)]
    assert_same_bits([(curves[k], results[k]) for k in (0, 2)], alone)


def test_a_trial_that_diverges_keeps_its_points_up_to_there(small_dataset):
    # given weights that grow by a factor of 1e4 a step
    curves, results = run([trial(learning_rate=1.0, regularization=5e3, record_every=1)], small_dataset)

    losses = curves[0]["train/loss"]
    assert list(losses) == list(range(1, results[0].step + 1))
    assert [step for step, loss in losses.items() if not np.isfinite(loss)] == [results[0].step]
    assert results[0].step > 3


@pytest.mark.parametrize("changes", [{"regularization": 1e300}, {"loss": Svm(margin=1e300)}])
def test_a_number_too_large_for_float32_is_infinite_and_its_trial_diverges_without_a_warning(small_dataset, changes):
    _, results = run([trial(), trial(**changes)], small_dataset)

    assert [results[k].outcome for k in (0, 1)] == [Outcome.COMPLETE, Outcome.DIVERGED]


def test_a_group_whose_every_trial_diverges_ends(small_dataset):
    trials = [trial(learning_rate=rate) for rate in (1e36, 1e37)]
    events = list(Train().run(trials, small_dataset, threads=1, checkpoint_every=10, until=30))
    outcomes = [event.outcome for event in events if isinstance(event, Result)]
    assert outcomes == [Outcome.DIVERGED, Outcome.DIVERGED]
    assert all(isinstance(event, Curve | Result) for event in events), "no state is left to keep"


@pytest.mark.parametrize("changes", [{}, {"optimizer": Momentum()}, {"clip": 1e9}])
def test_a_trial_whose_last_step_overflows_has_diverged(small_dataset, changes):
    # given one trial whose only step makes its weights infinite, after a loss that is finite
    trials = [trial(steps=1, record_every=1, learning_rate=rate, **changes) for rate in (1e-5, 3e38)]
    curves, results = run(trials, small_dataset)

    assert [results[k].outcome for k in (0, 1)] == [Outcome.COMPLETE, Outcome.DIVERGED]
    assert (results[1].step, dict(results[1].arrays)) == (1, {})
    assert results[1].message == "loss or weights ceased to be finite at step 1"
    assert np.isfinite(curves[1]["train/loss"][1])
    assert "val/loss" not in curves[1]
    assert_same_bits([(curves[0], results[0])], by_trial(*run(trials[:1], small_dataset)))
    # and where a step follows, it ends there, wherever a stretch of steps ends
    for every in (1, 2):
        _, results = run([dataclasses.replace(trials[1], steps=2, evaluate_every=every)], small_dataset)
        assert (results[0].outcome, results[0].step) == (Outcome.DIVERGED, 2)


def test_points_are_means_over_the_steps_since_the_last_point(small_dataset):
    every_step, _ = run([trial(record_every=1, steps=25)], small_dataset)
    curves, _ = run([trial(record_every=10, steps=25, evaluate_every=20)], small_dataset)
    losses = [every_step[0]["train/loss"][step] for step in range(1, 26)]
    expected = {10: np.mean(losses[:10]), 20: np.mean(losses[10:20]), 25: np.mean(losses[20:])}
    assert curves[0]["train/loss"] == pytest.approx(expected, rel=1e-14)
    assert curves[0]["evaluations"] == {10: 10, 20: 20, 25: 25}
    assert curves[0]["examples"] == {10: 640, 20: 1280, 25: 1600}
    assert sorted(curves[0]["val/accuracy"]) == sorted(curves[0]["val/loss"]) == [20, 25]
    assert not any(name.startswith("test/") for name in curves[0]), "the test set is no guide on the way"


def test_curves_go_on_from_what_a_checkpoint_holds_of_them():
    # given four steps of two trials, of which one has measured nothing in the first three
    curves, nan = Curves(every=3), np.nan
    steps, means = curves.extend(0, {"loss": np.array([[1.0, nan], [2, nan], [6, nan], [5, 4]])}, final=False)
    assert steps.tolist() == [3]
    np.testing.assert_array_equal(means["loss"], [[3, nan]])
    # when they go on from a checkpoint to the last step
    again = Curves.resumed(3, {"weights": np.ones((2, 7)), **curves.state()})
    assert again.state().keys() == {"curves/loss"}
    steps, means = again.extend(4, {"loss": np.array([[7.0, nan]])}, final=True)
    # then it is the mean of the steps since the last point
    assert steps.tolist() == [5]
    np.testing.assert_array_equal(means["loss"], [[6, 4]])


def test_data_and_regularization_loss_are_reported_apart(small_dataset):
    curves, _ = run([trial(regularization=1e-2)], small_dataset)
    for step, loss in curves[0]["train/loss"].items():
        parts = curves[0]["train/data_loss"][step] + curves[0]["train/regularization_loss"][step]
        assert loss == pytest.approx(parts, rel=1e-12)
        assert curves[0]["train/regularization_loss"][step] > 0


def test_every_strategy_learns(small_dataset):
    for strategy, floor in (("gradient", 0.9), ("local", 0.5), ("random", 0.3)):
        _, results = run([trial(strategy, batch_size=None, steps=300)], small_dataset)
        assert results[0].metrics["test/accuracy"] > floor, strategy


def test_batch_larger_than_the_training_set_is_refused(small_dataset):
    too_large = trial(batch_size=2151)
    with pytest.raises(ConfigError, match="batch_size must be at most the 2150 training examples of small"):
        Train().check(too_large, small_dataset)
    Train().check(trial(batch_size=2150), small_dataset)


def test_unused_parameters():
    assert Train().unused(trial("random")) == {"learning_rate", "optimizer", "schedule", "clip"}
    assert Train().unused(trial("local", batch_size=None)) == {"optimizer", "data_seed", "clip"}
    assert Train().unused(trial("gradient")) == frozenset()
    assert type(trial("gradient").optimizer) is Sgd


@pytest.mark.parametrize("strategy", STEADY)
def test_trials_are_fused_only_where_their_steps_see_the_same_examples(strategy):
    def key(**changes):
        one = trial(strategy, **changes)
        return one.task.fusion_key(one)

    for changes in ({"data_seed": 1}, {"batch_size": 32}, {"batch_size": None}, {"model": Mlp()}):
        assert key(**changes) != key()
    for changes in ({"steps": 61}, {"record_every": 7}, {"evaluate_every": 20}):
        assert key(**changes) != key()
    # the order of all examples is no matter, and what each trial has for itself is none
    assert key(batch_size=None, data_seed=1) == key(batch_size=None)
    assert key(seed=1, learning_rate=1.0, regularization=1.0, regularizer=L1(), loss=Softmax()) == key()


def test_copies_of_few_unique_examples_have_the_gradient_of_the_unique_ones(small_dataset):
    # given the notes' thought experiment: a training set made of 40 copies of 50 unique examples
    unique = Split(images=small_dataset.train.images[:50], labels=small_dataset.train.labels[:50])
    copies = Split(images=np.tile(unique.images, (40, 1)), labels=np.tile(unique.labels, 40))
    weights = 1e-3 * plain.normal(0, "initial weights", shape=(1, 190))
    # when the gradient is taken over both
    gradients = []
    for split in (unique, copies):
        dataset = dataclasses.replace(small_dataset, train=split)
        like = np.empty(0, dtype=np.float64)
        problem = Problem.of([trial(batch_size=None)], dataset, like=like, threads=1)
        gradient, loss, *_ = problem.loss_and_gradient(weights.astype(np.float64), problem.minibatches.at(0))
        gradients.append((gradient, loss))
    # then it is the same
    np.testing.assert_allclose(gradients[1][0], gradients[0][0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(gradients[1][1], gradients[0][1], rtol=1e-12)


def test_minibatches_reach_the_full_batch_loss_for_a_fraction_of_the_arithmetic(small_dataset):
    settings = {"steps": 60, "record_every": 1, "learning_rate": 2e-7, "loss": Softmax()}
    full, _ = run([trial(batch_size=None, **settings)], small_dataset)
    small, _ = run([trial(batch_size=64, **settings)], small_dataset)
    target = full[0]["val/loss"][60]
    assert small[0]["val/loss"][60] < 1.2 * target
    assert small[0]["examples"][60] < full[0]["examples"][60] / 30


def test_every_precision_starts_from_the_same_weights(small_dataset):
    trials = [trial(seed=seed) for seed in (1, 0, 1)]
    single, double = (
        Problem.of(trials, small_dataset, like=np.empty(0, dtype), threads=1).initial_weights([0.1, 0.1, 0.3])
        for dtype in (np.float32, np.float64)
    )
    assert double.dtype == np.float64
    np.testing.assert_array_equal(single, double)
