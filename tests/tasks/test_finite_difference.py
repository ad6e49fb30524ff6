import dataclasses

import numpy as np
import pytest

from tasks.arrays.random_streams import normal
from tasks.datasets.dataset import Split
from tasks.errors import ConfigError
from tasks.fused.problem import Problem
from tasks.losses import LOSSES, Softmax, SquaredHinge, Svm
from tasks.models import ConvNet, Mlp
from tasks.regularizers import L1, L2
from tasks.studies.finite_difference import FiniteDifference
from tasks.trial import Trial
from tasks.weight_space.points import chosen_examples
from tests.tasks import plain
from tests.tasks.rows_of_models import SMALL_MODELS

SHAPE = (5, 38)


def compared(dataset, *, threads=1, **changes):
    trial = Trial(**{"task": FiniteDifference(), "loss": Softmax()} | changes)
    curve, result = trial.task.run([trial], dataset, threads=threads)
    return trial, curve, result


@pytest.mark.parametrize("loss", LOSSES)
def test_the_quotients_are_the_plain_ones(small_dataset, loss):
    # Where truncation rules, the plain objective in float64 must give the same quotients.
    task = FiniteDifference(lowest=-4, highest=0, per_decade=1, examples=None, weights_scale=1e-2, direction_scale=1e-3)
    trial, _, result = compared(small_dataset, task=task, loss=LOSSES[loss](), regularization=0.1, seed=4)
    weights = (np.float32(1e-2) * normal(4, "initial weights", shape=SHAPE)).astype(np.float64)
    along = (np.float32(1e-3) * normal(4, "directions", 0, shape=SHAPE)).astype(np.float64)

    for k, h in enumerate(result.arrays["h"]):
        here, ahead, behind = (plain.mean_loss(trial, small_dataset, weights + s * along) for s in (0, h, -h))
        expected = [(ahead - here) / h, (ahead - behind) / (2 * h)]
        np.testing.assert_allclose(result.arrays["quotients"][1, :, k], expected, rtol=1e-4)


@pytest.mark.parametrize("model", SMALL_MODELS)
def test_the_quotients_of_every_model_are_those_of_its_objective(image_dataset, model):
    task = FiniteDifference(lowest=-4, highest=0, per_decade=1, examples=60)
    settings = {"model": SMALL_MODELS[model], "regularization": 0.1, "seed": 4}
    trial, _, result = compared(image_dataset, task=task, **settings)

    problem = Problem.of([trial], image_dataset, like=np.empty(0), threads=1)
    batch, scale = chosen_examples(problem, 60), np.float32(problem.natural_scale)
    weights, along = (np.float64(scale * problem.draw(4, *name)) for name in (["initial weights"], ["directions", 0]))

    def objective(point):
        _, data, regularization, _ = problem.loss_and_gradient(point[None, :], batch)
        return float(data[0] + regularization[0])

    for k, h in enumerate(result.arrays["h"]):
        here, ahead, behind = (objective(weights + s * along) for s in (0, h, -h))
        expected = [(ahead - here) / h, (ahead - behind) / (2 * h)]
        np.testing.assert_allclose(result.arrays["quotients"][1, :, k], expected, rtol=1e-7)
    assert result.arrays["errors"][1].min(axis=-1).max() < 1e-3


@pytest.mark.parametrize("loss", [name for name in LOSSES if LOSSES[name].smooth])
@pytest.mark.parametrize(("hidden", "initial"), [((6,), "0.003"), ((6,), "he"), ((40,), "he"), ((20, 20, 20), "he")])
@pytest.mark.parametrize("regularization", [0.0, 10.0])
def test_a_smooth_network_shows_slope_one_and_two(image_dataset, loss, hidden, initial, regularization):
    # Further on, higher terms of the layers bend the curve.
    model = Mlp(hidden=hidden, activation="tanh", initial=initial)
    _, _, result = compared(image_dataset, model=model, loss=LOSSES[loss](), regularization=regularization)

    assert result.metrics["finite_difference/float64_forward_slope"] == pytest.approx(1, abs=0.05)
    assert result.metrics["finite_difference/float64_centred_slope"] == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("model", [name for name in SMALL_MODELS if name != "linear"])
def test_a_network_with_kinks_shows_a_slope_of_one_and_none_that_is_straight_by_chance(image_dataset, model):
    _, _, result = compared(image_dataset, model=SMALL_MODELS[model])
    (first, last), centred = result.arrays["fitted"][1, 0], result.arrays["fitted"][1, 1]

    assert result.metrics["finite_difference/float64_forward_slope"] == pytest.approx(1, abs=0.05)
    assert last >= 10 * first * (1 - 1e-9)
    assert np.isnan(centred).all() or centred[1] >= 10 * centred[0] * (1 - 1e-9)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_the_slopes_are_fitted_where_truncation_rules_however_long_the_direction_is(small_dataset, scale):
    _, _, result = compared(small_dataset, task=FiniteDifference(direction_scale=scale), regularization=0.1)

    np.testing.assert_allclose(result.arrays["slopes"], [[1, 2], [1, 2]], atol=0.1)


def test_a_network_with_kinks_says_so(image_dataset):
    _, _, result = compared(image_dataset, model=SMALL_MODELS["convnet"])

    assert "model=convnet has kinks where it has relu or max pooling" in result.message


@pytest.mark.parametrize(("activation", "warned"), [("relu", True), ("tanh", False)])
def test_a_smooth_network_is_not_said_to_have_kinks(image_dataset, activation, warned):
    _, _, result = compared(image_dataset, model=Mlp(hidden=(6,), activation=activation))

    assert ("has kinks" in result.message) is warned


@pytest.mark.parametrize(
    ("regularizer", "strength", "warned"), [(L1(), 0.1, True), (L1(), 0.0, False), (L2(), 0.1, False)]
)
def test_a_penalty_with_kinks_says_so(small_dataset, regularizer, strength, warned):
    _, _, result = compared(small_dataset, regularizer=regularizer, regularization=strength)

    assert ("regularizer=l1 may have kinks" in result.message) is warned


def test_steps_too_small_for_a_slope_are_said_to_have_none(small_dataset):
    _, _, result = compared(small_dataset, task=FiniteDifference(lowest=-15, highest=-12))

    assert "nan" not in result.message
    assert "no truncation range, best h " in result.message


def test_losses_that_overflow_are_not_the_best(image_dataset):
    # given steps so long that the loss of a network overflows in single precision
    task = FiniteDifference(lowest=-6, highest=10)
    _, _, result = compared(image_dataset, task=task, model=Mlp(hidden=(6,)), loss=SquaredHinge())
    h, errors, best = (result.arrays[name] for name in ("h", "errors", "best_h"))

    assert np.isnan(errors[0, 1, -5:]).all()
    assert all(np.isfinite(errors[p, d][h == best[p, d]]).all() for p in range(2) for d in range(2))
    assert (best < 1).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_the_derivative_is_where_the_quotients_go(small_dataset, loss):
    _, _, result = compared(small_dataset, loss=LOSSES[loss](), regularization=0.1)

    assert result.arrays["errors"][1].min(axis=-1).max() < 1e-5


def test_the_error_of_a_derivative_of_0_is_absolute(small_dataset):
    # given one class, for which the loss is 0 whatever the weights
    train = Split(images=small_dataset.train.images[:20], labels=np.zeros(20, np.int64))
    one_class = dataclasses.replace(small_dataset, train=train, classes=("a",))
    _, _, result = compared(one_class, task=FiniteDifference(lowest=-2, examples=None))

    assert result.arrays["derivative"] == 0
    np.testing.assert_array_equal(result.arrays["errors"], 0)
    assert not any("slope" in name for name in result.metrics), "a metric is a number"


@pytest.mark.parametrize("seed", range(4))
def test_softmax_shows_slope_one_and_two_and_centred_wins(small_dataset, seed):
    _, curve, result = compared(small_dataset, seed=seed, task=FiniteDifference(per_decade=8))
    (forward32, centred32), (forward64, centred64) = result.arrays["slopes"]
    best, errors = result.arrays["best_h"], result.arrays["errors"]

    assert forward64 == pytest.approx(1, abs=0.02)
    assert centred64 == pytest.approx(2, abs=0.05)
    assert forward32 == pytest.approx(1, abs=0.1)
    assert np.isnan(centred32) or centred32 == pytest.approx(2, abs=0.4)
    assert (best[:, 0] < best[:, 1]).all(), "the centred difference is best at a larger h"
    assert (best[0] > best[1]).all(), "float32 needs a larger h"
    assert (errors.min(axis=-1)[:, 0] > errors.min(axis=-1)[:, 1]).all(), "and is the better one"
    np.testing.assert_array_equal(curve.metrics["finite_difference/float64_centred_error"], errors[1, 1])


def test_rounding_rules_on_the_left_and_nothing_is_left_at_the_smallest_h(small_dataset):
    _, _, result = compared(small_dataset)
    h, errors = result.arrays["h"], result.arrays["errors"]

    assert h[0] == 1e-15
    assert (errors[:, :, 0] > 0.05).all()
    assert (errors[0, :, 0] == 1).all(), "in float32 W + hV is W"
    left = (h > 1e-13) & (h < 1e-9)
    slope = np.polyfit(np.log10(h[left]), np.log10(errors[1, 0, left]), 1)[0]
    assert slope == pytest.approx(-1, abs=0.4)


@pytest.mark.parametrize(("loss", "warned"), [(Svm(), True), (SquaredHinge(), True), (Softmax(), False)])
def test_a_loss_with_kinks_says_so(small_dataset, loss, warned):
    _, _, result = compared(small_dataset, loss=loss)

    assert ("has kinks" in result.message) is warned


def test_between_kinks_the_svm_is_exact_but_for_rounding(small_dataset):
    # A few examples have few kinks: below the nearest the forward difference is off by rounding alone.
    _, _, result = compared(small_dataset, loss=Svm(), task=FiniteDifference(examples=3))
    h, forward = result.arrays["h"], result.arrays["errors"][1, 0]

    assert forward[(h > 1e-7) & (h < 1e-5)].max() < 1e-6


def test_zero_weights_are_a_point_like_another(small_dataset):
    _, _, result = compared(small_dataset, task=FiniteDifference(weights_scale=0.0))

    assert not result.arrays["weights"].any()
    assert result.metrics["finite_difference/float64_forward_slope"] == pytest.approx(1, abs=0.02)


def test_the_bits_depend_on_no_thread(small_dataset):
    one, two = (compared(small_dataset, threads=n, task=FiniteDifference(examples=None))[2].arrays for n in (1, 2))

    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lowest": 0}, r"task\.lowest must be below task\.highest \(0\), got 0"),
        ({"lowest": -31}, r"task\.lowest must be >= -30 \(a smaller h changes no weight\), got -31"),
        ({"highest": 11}, r"task\.highest must be <= 10, got 11"),
        ({"per_decade": 0}, r"task\.per_decade must be >= 1"),
        ({"examples": 0}, r"task\.examples must be >= 1"),
        ({"weights_scale": -1.0}, r"task\.weights_scale must be >= 0"),
        ({"direction_scale": 0.0}, r"task\.direction_scale must be > 0"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        FiniteDifference(**fields)


def test_too_many_examples_are_refused(small_dataset):
    task = FiniteDifference(examples=9999)
    with pytest.raises(ConfigError, match=r"task\.examples must be at most the 2150 training examples of small"):
        task.check(Trial(task=task), small_dataset)
    with pytest.raises(ConfigError, match=r"model=convnet must be given images"):
        FiniteDifference().check(Trial(task=task, model=ConvNet()), small_dataset)
