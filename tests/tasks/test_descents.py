import dataclasses
from typing import ClassVar

import numpy as np
import pytest

from tasks.datasets.dataset import Split, make_dataset
from tasks.events import Checkpoint, Curve, Result
from tasks.fused.descent import squared_norm
from tasks.fused.problem import Problem
from tasks.losses import LOSSES
from tasks.models import Linear, Mlp
from tasks.optimizers import OPTIMIZERS
from tasks.regularizers import L1
from tasks.schedules import Cosine
from tasks.strategies import GradientDescent
from tasks.strategies.plain_descent import PlainDescent, clipped
from tasks.strategies.row_descent import RowDescent
from tasks.strategies.scaled_descent import ScaledDescent, scales
from tasks.studies.train import Train
from tasks.trial import Trial
from tests.tasks.test_gradient_check import GroupLasso

STEPS = range(1, 31)
# What a step leaves of the weights: nearly all, so little that scales are renewed, their opposite, more than they were.
DECAYS = (1 - 1e-7, 0.9, 0.2, 1e-3, -0.7, -1.02)


def trial(**changes):
    return Trial(**{"task": Train(), "learning_rate": 1e-5, "batch_size": 64, "steps": len(STEPS), **changes})


def followed(kind, trials, dataset, *, precision):
    """Return the weights after the steps, what they measured (S, 3, K), and the norms they told (S, 2, K)."""
    problem = Problem.of(trials, dataset, like=np.empty(0, precision), threads=1)
    descent = kind(problem, kind.init(problem, problem.initial_weights([1e-2] * len(trials))), STEPS)
    told = [descent.step(number, norms=True) for number in range(len(STEPS))]
    measures, norms = (np.array([[np.asarray(column) for column in step[part]] for step in told]) for part in (0, 1))
    return descent.state()["weights"], measures, norms


@pytest.mark.parametrize("batch_size", [64, None, 1])
@pytest.mark.parametrize("loss", list(LOSSES.values()))
def test_steps_on_scaled_weights_and_on_rows_are_those_of_the_textbook(small_dataset, loss, batch_size):
    # given trials whose weights decay in all manners, some by L1, one by less and less
    rows = [{"regularization": (1 - decay) / 2e-5} for decay in DECAYS]
    rows += [{"regularizer": L1(), "regularization": 10.0}, {"regularization": 4e3, "schedule": Cosine()}]
    trials = [trial(loss=loss(), batch_size=batch_size, **row) for row in rows]
    trials.sort(key=lambda t: type(t.regularizer).__name__)
    # when the same steps are done by w -= learning_rate * gradient, in double precision
    plain = followed(PlainDescent, trials, small_dataset, precision=np.float64)
    # then it is the same descent, and what is told of it is the same
    for fast in (ScaledDescent, RowDescent):
        weights, measures, norms = followed(fast, trials, small_dataset, precision=np.float64)
        np.testing.assert_allclose(weights, plain[0], rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(measures[:, :2], plain[1][:, :2], rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(norms, plain[2], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("model", [Linear(), Mlp(hidden=(7, 3))])
def test_a_penalty_of_rows_is_the_same_in_every_descent(small_dataset, model):
    # given a penalty that is no sum over the weights, in trials of two strengths
    rows = {"regularizer": GroupLasso(), "model": model, "loss": LOSSES["softmax"]()}
    trials = [trial(regularization=strength, learning_rate=1e-4, **rows) for strength in (1.0, 10.0)]
    plain = followed(PlainDescent, trials, small_dataset, precision=np.float64)
    for fast in (ScaledDescent, RowDescent):
        weights, measures, _ = followed(fast, trials, small_dataset, precision=np.float64)
        np.testing.assert_allclose(weights, plain[0], rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(measures[:, :2], plain[1][:, :2], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("optimizer", [kind for kind in OPTIMIZERS.values() if kind.elementwise])
def test_rows_are_updated_as_the_textbook_updates_all(small_dataset, optimizer):
    trials = [trial(optimizer=optimizer(), learning_rate=rate, regularization=1e-2) for rate in (1e-5, 1e-4)]
    plain = followed(PlainDescent, trials, small_dataset, precision=np.float64)
    rows = followed(RowDescent, trials, small_dataset, precision=np.float64)
    for one, other in zip(rows, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-12)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Normalized:
    """``-learning_rate * g / |g|``, the norm over all of a trial's parameters: a rule that is not elementwise."""

    elementwise: ClassVar[bool] = False
    plain: ClassVar[bool] = False

    def init(self, weights):
        return {}

    def update(self, gradient, state, *, learning_rate, step):
        return -learning_rate * gradient / np.linalg.norm(gradient, axis=-1, keepdims=True), state


@pytest.mark.parametrize("model", [Linear(), Mlp(hidden=(7, 3))])
def test_a_rule_that_is_not_elementwise_gets_all_of_a_trials_parameters(small_dataset, model):
    # given trials of a rule that looks at the norm of the whole gradient
    rows = {"optimizer": Normalized(), "model": model, "steps": 3, "record_every": 1}
    trials = [trial(learning_rate=rate, seed=seed, **rows) for rate, seed in ((1e-3, 0), (5e-4, 1))]
    events = list(Train().run(trials, small_dataset, threads=1, checkpoint_every=1))
    states = {event.step: event.arrays["weights"] for event in events if isinstance(event, Checkpoint)}
    # then every step of a trial has the length of its learning rate, over all its parameters together
    np.testing.assert_allclose(np.linalg.norm(states[2] - states[1], axis=1), [1e-3, 5e-4], rtol=1e-2)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
def test_a_gradient_is_clipped_by_the_norm_of_all_of_a_trials_parameters(small_dataset, optimizer):
    # given a clip above every norm, one far below them, and none
    settings = {"optimizer": OPTIMIZERS[optimizer](), "steps": 5, "record_every": 1}
    trials = [trial(clip=clip, **settings) for clip in (1e9, 1e-3)] + [trial(**settings)]
    weights, _, norms = followed(PlainDescent, trials, small_dataset, precision=np.float64)
    # then one that is above changes nothing, the gradient is told as it was, and the first step has the clip's length
    np.testing.assert_array_equal(weights[0], weights[2])
    np.testing.assert_allclose(norms[0, 0], norms[0, 0, 0])
    problem = Problem.of(trials, small_dataset, like=np.empty(0), threads=1)
    start = problem.initial_weights([1e-2] * len(trials))
    descent = PlainDescent(problem, PlainDescent.init(problem, start), range(1, 2))
    descent.step(0, norms=False)
    moved = np.linalg.norm(descent.state()["weights"] - start, axis=1)
    assert moved[1] == pytest.approx(1e-5 * 1e-3)
    assert moved[0] > 1e3 * moved[1]


@pytest.mark.parametrize("clip", [1.0, None])
def test_a_gradient_whose_squares_overflow_is_measured_and_clipped_like_any_other(clip):
    # given features so large that single precision holds the gradient, and not the square of its norm
    features = (1e22 * np.random.default_rng(0).standard_normal((60, 6))).astype(np.float32)
    split = Split(images=features, labels=np.arange(60) % 3)
    classes = tuple("abc")
    data = make_dataset(name="large", train=split, test=split, classes=classes, image_shape=(6,), validation=0)
    # when steps of a fitting length are taken from the weights 0
    rows = {"strategy": GradientDescent(initial_scale=0.0), "optimizer": OPTIMIZERS["momentum"]()}
    rows |= {"batch_size": None, "steps": 5, "record_every": 1, "learning_rate": 1e-23 if clip else 1e-45}
    (curve,) = [e.metrics for e in Train().run([trial(clip=clip, **rows)], data, threads=1) if isinstance(e, Curve)]
    norms, losses = curve["train/gradient_norm"], curve["train/loss"]
    # then the norm is told as it is, and a clipped trial does not stand still
    assert ((norms > 1e20) & (norms < 1e24)).all()
    assert clip is None or losses[-1] < 0.99 * losses[0]


def test_of_rows_whose_squares_overflow_beside_others_each_has_its_norm():
    rows = np.array([[3e25, 4e25], [3.0, 4.0]], np.float32)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(squared_norm(rows), [2.5e51, 25.0], rtol=1e-6)


def test_a_gradient_that_exceeds_its_clip_by_more_than_single_precision_holds_is_no_number():
    gradient, limits = np.array([[3e38, 0.0], [3.0, 4.0]], np.float32), np.array([[1e-2], [1.0]], np.float32)
    with np.errstate(over="ignore"):
        shortened = clipped(gradient, np.array([3e38, 5.0]), limits)
    assert np.isnan(shortened[0]).all()
    np.testing.assert_allclose(shortened[1], [0.6, 0.8], rtol=1e-6)


def test_clipped_trials_are_fused_with_clipped_ones_and_keep_their_bits(small_dataset):
    trials = [trial(clip=clip, seed=seed) for clip, seed in ((1.0, 0), (50.0, 1), (1e9, 0))]
    assert len({t.task.fusion_key(t) for t in trials}) == 1
    assert trials[0].task.fusion_key(trials[0]) != trial().task.fusion_key(trial())
    events = list(Train().run(trials, small_dataset, threads=1))
    fused = {event.trial: event.arrays["weights"] for event in events if isinstance(event, Result)}
    for k, one in enumerate(trials):
        (alone,) = [e for e in Train().run([one], small_dataset, threads=1) if isinstance(e, Result)]
        np.testing.assert_array_equal(fused[k], alone.arrays["weights"])


def test_a_decay_that_single_precision_cannot_tell_from_none_is_not_lost(small_dataset):
    # given a decay of a quarter of what lies between 1 and the number below it, in float32
    steps, decay = 20_000, 2.0**-26
    every, renewals = scales(np.ones(1), np.full((steps, 1), 1 - decay))
    # then all of them together are what they should be, and the weights were passed over for none
    assert every[-1] == pytest.approx((1 - decay) ** steps, rel=1e-9)
    assert every[-1] < 1 - 2e-4
    assert (renewals == 1).all()


def test_scales_stay_near_1_and_a_scale_of_nothing_begins_anew():
    every, renewals = scales(np.ones(4), np.array([[0.6, -1.5, 0.0, np.nan]] * 4))
    np.testing.assert_array_equal(every[:, :2].T, [[1, 0.6, 1, 0.6, 1], [1, -1.5, 1, -1.5, 1]])
    np.testing.assert_array_equal(renewals[:, :2].T, [[1, 0.36, 1, 0.36], [1, 2.25, 1, 2.25]])
    np.testing.assert_array_equal(every[:, 2:], 1)
    np.testing.assert_array_equal(renewals[:, 2:], [[0.0, np.nan]] * 4)


@pytest.mark.parametrize("loss", list(LOSSES.values()))
def test_the_neighbours_of_a_trial_whose_scale_is_renewed_lose_no_bit(small_dataset, loss):
    # given trials that decay in all manners beside one whose regularizer is no decay
    rows = [{"regularizer": L1(), "regularization": 10.0}]
    rows += [{"regularization": (1 - decay) / 2e-5} for decay in (*DECAYS, 0.0)]
    trials = [trial(loss=loss(), **row) for row in rows]
    # when they are fused and alone
    together = followed(ScaledDescent, trials, small_dataset, precision=np.float32)
    for k, lone in enumerate(trials):
        alone = followed(ScaledDescent, [lone], small_dataset, precision=np.float32)
        # then every bit is the same, of what is measured and of the norms too
        np.testing.assert_array_equal(alone[0][0], together[0][k])
        np.testing.assert_array_equal(alone[1][..., 0], together[1][..., k])
        np.testing.assert_array_equal(alone[2][..., 0], together[2][..., k])


def test_the_gradient_of_steps_too_small_for_single_precision_is_told_right(small_dataset):
    trials = [trial(learning_rate=rate, regularization=1e-2) for rate in (1e-42, 1e-12)]
    _, _, norms = followed(ScaledDescent, trials, small_dataset, precision=np.float32)
    np.testing.assert_allclose(norms[:, 0, 0], norms[:, 0, 1], rtol=1e-4)
