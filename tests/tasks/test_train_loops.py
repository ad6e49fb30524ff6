"""The steps of a training are those of the loops in the notes, written out."""

import dataclasses

import numpy as np
import pytest

from tasks.arrays.devices import HOST_BLOCKS
from tasks.events import Outcome
from tasks.fused.batches import Minibatches
from tasks.fused.problem import Problem
from tasks.labels import accuracy
from tasks.losses import Softmax, Svm
from tasks.schedules import SCHEDULES, Constant, Cosine
from tasks.strategies import RandomSearch
from tests.tasks import plain
from tests.tasks.trainings import run, trial


@pytest.mark.parametrize("loss", [Svm(), Softmax()])
@pytest.mark.parametrize(
    ("strategy", "loop", "schedule"),
    [
        ("random", plain.random_search, Constant()),
        *(("local", plain.local_search, row()) for row in SCHEDULES.values()),
    ],
)
def test_score_space_search_is_the_plain_loop(small_dataset, strategy, loop, schedule, loss):
    # given a search over all examples with more candidates than fit one block
    steps = HOST_BLOCKS.candidates + 54
    stretch = {"record_every": 1, "evaluate_every": steps, "steps": steps}
    # and a penalty of about 2, for weights of about 1e-4 and 1e-3, which decides with the loss
    strength = {"random": 1e6, "local": 1e4}[strategy]
    searching = trial(strategy, loss=loss, schedule=schedule, regularization=strength, batch_size=None, **stretch)
    curves, results = run([searching], small_dataset)
    # when the notes' loop makes the same draws
    weights, history = loop(searching, small_dataset)
    # then the same candidates were accepted
    np.testing.assert_allclose(list(curves[0]["train/loss"].values()), history, rtol=1e-5)
    np.testing.assert_allclose(results[0].arrays["weights"], weights, rtol=1e-4, atol=1e-7)
    # and the accuracy is that of the best
    scores = weights @ plain.features(small_dataset, small_dataset.train).T
    assert curves[0]["train/accuracy"][steps] == pytest.approx(accuracy(scores, small_dataset.train.labels), abs=1e-3)


def test_trials_of_one_seed_share_their_directions(small_dataset):
    scales = [1e-4, 1e-3]
    one = trial("random", batch_size=None, steps=1)
    trials = [dataclasses.replace(one, strategy=RandomSearch(scale=scale)) for scale in scales]
    _, results = run(trials, small_dataset)
    small, large = (results[k].arrays["weights"] for k in range(2))
    np.testing.assert_allclose(large, 10 * small, rtol=1e-5)


@pytest.mark.parametrize("strategy", ["random", "local"])
def test_on_minibatches_incumbent_and_candidate_meet_on_the_same_examples(small_dataset, strategy):
    # given a search on minibatches, recorded at every step
    searching = trial(strategy, record_every=1, steps=41)
    curves, results = run([searching], small_dataset)
    # when the first candidate is taken, and then each new minibatch meets the incumbent first, and a candidate next
    batches, best = Minibatches(small_dataset.train, 64, 0), np.inf
    weights, losses = np.float32(1e-3) * plain.normal(0, "initial weights", shape=(5, 38)), []
    for step in range(1, 42):
        index = batches.at(step // 2).index
        if step % 2 == 0:
            best = plain.mean_loss(searching, small_dataset, weights, index)
        else:
            direction = plain.normal(0, "perturbations", step // 2, shape=(5, 38))
            candidate = weights + np.float32(1e-3) * direction if strategy == "local" else np.float32(1e-4) * direction
            loss = plain.mean_loss(searching, small_dataset, candidate, index)
            weights, best = (candidate, loss) if loss < best else (weights, best)
        losses.append(best)
    # then it is the same search
    np.testing.assert_allclose(list(curves[0]["train/loss"].values()), losses, rtol=1e-5)
    np.testing.assert_allclose(results[0].arrays["weights"], weights, rtol=1e-4, atol=1e-7)
    assert results[0].outcome is Outcome.COMPLETE


@pytest.mark.parametrize("batch_size", [64, None])
@pytest.mark.parametrize("strategy", ["random", "local"])
def test_a_candidate_that_is_no_better_is_not_kept(small_dataset, strategy, batch_size):
    # given examples of one class, of which every loss is 0
    one_class = {
        name: dataclasses.replace(split, labels=np.zeros_like(split.labels))
        for name in ("train", "validation", "test")
        for split in [getattr(small_dataset, name)]
    }
    dataset = dataclasses.replace(small_dataset, classes=("a",), **one_class)
    # then the first candidate stays
    first, last = (
        run([trial(strategy, steps=steps, batch_size=batch_size)], dataset)[1][0].arrays["weights"] for steps in (1, 5)
    )
    np.testing.assert_array_equal(first, last)


def test_a_search_on_minibatches_that_is_annealed_takes_steps_that_shrink(small_dataset):
    # given a search whose steps are taken one by one
    searching = trial("local", schedule=Cosine(), record_every=1, evaluate_every=1, steps=40)
    problem = Problem.of([searching], small_dataset, like=np.empty(0, np.float32), threads=1)
    state, sizes = searching.strategy.init(problem), {}
    for step in range(1, 41):
        before = state["weights"]
        state, _ = searching.strategy.advance(problem, state, step - 1, step)
        if not np.array_equal(before, state["weights"]):
            sizes[step] = float(np.std(state["weights"] - before))
    # then each step taken has the size of the draws, times the learning rate, times the cosine
    expected = {step: 1e-3 * Cosine().factor(step, 40) for step in sizes}
    assert len(sizes) > 5
    assert sizes == pytest.approx(expected, rel=0.2)


def test_minibatch_gradient_descent_is_the_plain_loop(small_dataset):
    # given plain minibatch descent in double precision on the same examples
    t = trial(steps=40, regularization=1e-3, record_every=1)
    x, y = plain.features(small_dataset, small_dataset.train), small_dataset.train.labels
    weights = 1e-4 * plain.normal(0, "initial weights", shape=(5, 38)).astype(np.float64)
    batches = Minibatches(small_dataset.train, 64, 0)
    losses = []
    for step in range(40):
        index = batches.at(step).index
        scores = weights @ x[index].T
        values, slope = t.loss.losses_and_gradient(scores, y[index])
        losses.append(values.mean() + 1e-3 * (weights**2).sum())
        weights = weights - t.learning_rate * (slope @ x[index] / 64 + 2e-3 * weights)
    # then the fused core takes the same steps
    curves, results = run([t], small_dataset)
    np.testing.assert_allclose(list(curves[0]["train/loss"].values()), losses, rtol=1e-4)
    np.testing.assert_allclose(results[0].arrays["weights"], weights, atol=1e-6)
