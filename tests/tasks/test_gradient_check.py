import dataclasses
from typing import Any, ClassVar

import numpy as np
import pytest

from tasks.datasets.dataset import Split, make_dataset
from tasks.datasets.digits import Digits
from tasks.datasets.scikit import Scikit
from tasks.errors import ConfigError
from tasks.events import Outcome
from tasks.losses import LOSSES, Svm
from tasks.models import ConvNet, Linear, Mlp
from tasks.regularizers import REGULARIZERS
from tasks.studies.compared_gradients import Compared, relative_error, verdict
from tasks.studies.gradient_check import GradientCheck
from tasks.trial import Trial
from tasks.weight_space.slopes import Slopes
from tests.tasks import plain
from tests.tasks.checks import checked


@pytest.mark.parametrize("variable", ["weights", "data"])
@pytest.mark.parametrize("regularizer", REGULARIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_gradient_passes(small_dataset, loss, regularizer, variable):
    task = GradientCheck(variable=variable)
    row = LOSSES[loss]()
    result = checked(small_dataset, task=task, loss=row, regularizer=REGULARIZERS[regularizer](), regularization=0.1)
    assert result.outcome is Outcome.COMPLETE, result.message
    assert result.metrics["gradient_check/median_relative_error"] < 1e-7


@pytest.mark.parametrize("variable", ["weights", "data"])
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_pass_on_features_of_any_range(tabular_dataset, loss, variable):
    result = checked(tabular_dataset, task=GradientCheck(variable=variable), loss=LOSSES[loss]())
    assert result.outcome is Outcome.COMPLETE, result.message
    assert result.metrics["gradient_check/median_relative_error"] < 1e-7


@pytest.mark.parametrize("scale", [1e-4, 0.1, 1.0, 100.0])
@pytest.mark.parametrize("variable", ["weights", "data"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("scaling", ["none", "standard"])
def test_gradients_pass_at_weights_of_any_scale(loss, variable, scale, scaling):
    task = GradientCheck(variable=variable, scale=scale)
    result = checked(Digits(scaling=scaling).load(), task=task, loss=LOSSES[loss]())
    assert result.outcome is Outcome.COMPLETE, result.message


@pytest.mark.parametrize("hidden", [(100,), (100, 50)])
def test_a_smooth_network_of_few_features_has_no_kinks(hidden):
    # given four features, so that the weights of each are large
    dataset = Scikit(data_name="iris", scaling="standard").load()

    result = checked(
        dataset,
        task=GradientCheck(variable="data"),
        loss=LOSSES["softmax"](),
        model=Mlp(hidden=hidden, activation="tanh"),
    )

    assert result.outcome is Outcome.COMPLETE, result.message
    assert result.metrics["gradient_check/coordinates_with_kinks"] == 0


def nearly_blank():
    """Return scaled images whose upper half is blank, but for one pixel of one image."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (1000, 16), dtype=np.uint8)
    images[:, :8] = 0
    images[5, 3] = 1
    train = Split(images=images, labels=rng.integers(10, size=1000))
    classes, shape = tuple("0123456789"), (4, 4)
    return make_dataset(
        name="d", train=train, test=train, classes=classes, image_shape=shape, validation=0, scaling="standard"
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_the_step_of_a_weight_goes_by_the_range_of_each_scaled_pixel(loss):
    # given a pixel of so small a deviation that the brightest one's value would be thousands of it
    result = checked(nearly_blank(), loss=LOSSES[loss]())
    # then the differences are not lost in rounding
    assert result.metrics["gradient_check/median_relative_error"] < 1e-9, result.message


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_step_of_a_scaled_pixel_of_a_network_is_small(seed):
    result = checked(
        nearly_blank(),
        task=GradientCheck(variable="data", examples=200),
        loss=LOSSES["logistic"](),
        model=Mlp(hidden=(1,), activation="tanh", initial="xavier"),
        seed=seed,
    )
    assert result.metrics["gradient_check/largest_relative_error"] < 1e-5, result.message


@pytest.mark.parametrize(
    ("data", "variable", "model", "h"),
    [
        ("small_dataset", "weights", Linear(), 1e-4 / 255),  # the brightest pixel
        ("small_dataset", "data", Linear(), 1e-2),
        ("tabular_dataset", "data", Linear(), 1e-2),
        ("small_dataset", "data", Mlp(hidden=(3,)), 1e-3),
        ("tabular_dataset", "data", Mlp(hidden=(3,)), 1e-4),
    ],
)
def test_the_default_step_is_said(request, data, variable, model, h):
    task = GradientCheck(variable=variable, examples=1, coordinates=1)
    result = checked(request.getfixturevalue(data), task=task, model=model)
    assert result.message.endswith(f"(h = {h:g})")


def test_the_default_step_of_a_weight_goes_by_the_largest_input(tabular_dataset):
    inputs = (tabular_dataset.train.images - tabular_dataset.mean) * tabular_dataset.scale
    result = checked(tabular_dataset, task=GradientCheck(examples=1))
    assert result.message.endswith(f"(h = {1e-4 / np.abs(inputs).max():g})")


def test_an_input_that_is_not_scaled_counts_from_the_mean():
    # given values of which the largest is 1.5 above their mean
    split = Split(images=np.array([[0], [0], [0], [2]], dtype=np.float32), labels=np.array([0, 1, 0, 1]))
    dataset = make_dataset(name="d", train=split, test=split, classes=("a", "b"), image_shape=(1,), validation=0)

    result = checked(dataset, task=GradientCheck(examples=1))

    assert result.message.endswith(f"(h = {1e-4 / 1.5:g})")


def test_the_weights_are_as_many_times_the_draw_as_the_scale_says(small_dataset):
    # given a penalty beside which the data loss is nothing, so that the gradient is 2e9 times the weights
    result = checked(small_dataset, task=GradientCheck(scale=0.5, examples=1), regularization=1e9)
    draw = plain.normal(0, "initial weights", shape=(5, 38))
    np.testing.assert_allclose(result.arrays["analytic"], 2e9 * 0.5 * draw, rtol=1e-4, atol=1e4)


@pytest.mark.parametrize("loss", ["softmax", "logistic"])
def test_gradients_pass_on_features_far_from_zero(loss):
    # given features such as times, whose range is small beside their values, and which are not scaled
    rng = np.random.default_rng(0)
    times = (1e9 + 1e4 * rng.standard_normal((60, 16))).astype(np.float32)
    split = Split(images=times, labels=rng.integers(0, 3, 60))
    dataset = make_dataset(name="times", train=split, test=split, classes=tuple("abc"), image_shape=(16,), validation=0)

    result = checked(dataset, loss=LOSSES[loss]())

    assert result.outcome is Outcome.COMPLETE, result.message


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WrongSvm(Svm):
    """An SVM whose gradient forgets the correct class of every example."""

    def losses_and_gradient(self, scores, labels):
        losses, gradient = Svm.losses_and_gradient(self, scores, labels)
        return losses, np.maximum(gradient, 0)


@pytest.mark.parametrize(("variable", "used"), [("weights", True), ("data", False)])
def test_a_penalty_of_the_weights_has_no_influence_on_the_gradient_by_the_data(small_dataset, variable, used):
    task = GradientCheck(variable=variable)
    penalties = [{}, {"regularizer": REGULARIZERS["l1"](), "regularization": 0.5}]
    gradients = [checked(small_dataset, task=task, **changes).arrays["numerical"] for changes in penalties]
    assert np.array_equal(*gradients) is not used
    assert ({"regularizer", "regularization"} <= task.unused(Trial(task=task))) is not used


@pytest.mark.parametrize("scale", [None, 1.0, 100.0])
@pytest.mark.parametrize("variable", ["weights", "data"])
def test_a_wrong_gradient_fails(small_dataset, variable, scale):
    result = checked(small_dataset, task=GradientCheck(variable=variable, scale=scale), loss=WrongSvm())
    assert result.outcome is Outcome.FAILED
    assert result.message.startswith("wrong: largest relative error")


@pytest.mark.parametrize(
    ("factor", "outcome", "said"), [(1.001, "failed", "doubtful"), (1.00001, "complete", "passes")]
)
def test_a_single_coordinate_decides(small_dataset, factor, outcome, said):
    @dataclasses.dataclass(frozen=True)
    class SlightlyWrong(Svm):
        def losses_and_gradient(self, scores, labels):
            losses, gradient = Svm.losses_and_gradient(self, scores, labels)
            return losses, gradient * np.where(np.arange(5) == 3, factor, 1.0)[:, None]

    result = checked(small_dataset, loss=SlightlyWrong())
    assert result.outcome is Outcome(outcome)
    assert result.message.startswith(f"{said}: largest relative error")
    assert (result.arrays["worst"][:, 0] == 3).all()


def test_the_numerical_gradient_is_the_plain_loop(small_dataset):
    result = checked(small_dataset, regularization=0.1, task=GradientCheck(examples=None))
    weights = 1e-3 * plain.normal(0, "initial weights", shape=(5, 38)).astype(np.float64)
    trial = Trial(task=GradientCheck(), regularization=0.1)
    coordinates = [(0, 0), (3, 17), (4, 37)]
    gradient = plain.numerical_gradient(
        lambda w: plain.mean_loss(trial, small_dataset, w), weights, coordinates=coordinates
    )
    for index in coordinates:
        assert result.arrays["numerical"][index] == pytest.approx(gradient[index], rel=1e-5, abs=1e-7)


def test_coordinates_at_kinks_are_counted_apart_with_both_slopes(small_dataset):
    # given a step so large that many hinges are crossed
    result = checked(small_dataset, task=GradientCheck(h=1e-3, examples=None))
    with_kinks = result.arrays["kinks"] > 0
    assert result.metrics["gradient_check/coordinates_with_kinks"] == with_kinks.sum() > 0
    # then the slopes to either side differ there and the analytic one lies between them, and elsewhere they agree
    ahead, behind, analytic = (result.arrays[name] for name in ("slope_ahead", "slope_behind", "analytic"))
    slack = 1e-9 * np.abs(analytic).max()
    assert (ahead[with_kinks] - behind[with_kinks] > -slack).all()
    assert (behind[with_kinks] - slack <= analytic[with_kinks]).all()
    assert (analytic[with_kinks] <= ahead[with_kinks] + slack).all()
    np.testing.assert_allclose(ahead[~with_kinks], behind[~with_kinks], atol=slack)


@pytest.mark.parametrize(
    ("variable", "changes"),
    [
        ("data", {"loss": LOSSES["squared_hinge"]()}),
        ("weights", {"loss": LOSSES["softmax"](), "regularization": 1e4}),
    ],
)
def test_the_rounding_of_large_losses_is_no_kink(small_dataset, variable, changes):
    # given a loss of many millions, by its scores or by its regularization
    result = checked(small_dataset, task=GradientCheck(variable=variable, scale=10.0, examples=20), **changes)
    # then nearly every coordinate is compared
    assert result.metrics["gradient_check/coordinates_with_kinks"] < 0.1 * result.arrays["kinks"].size
    assert result.outcome is Outcome.COMPLETE, result.message


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GroupLasso:
    """The sum of the norms of the rows: a penalty that is no sum over the weights."""

    decay: ClassVar[float] = 0.0

    def penalty(self, weights):
        return np.linalg.norm(weights, axis=-1)

    def gradient(self, weights, strength):
        return strength * weights / np.maximum(np.linalg.norm(weights, axis=-1, keepdims=True), 1e-300)


@pytest.mark.parametrize("model", [Linear(), Mlp(hidden=(6,))])
def test_the_penalty_of_a_row_of_weights_need_not_be_a_sum(small_dataset, model):
    settings = {"model": model, "loss": LOSSES["softmax"](), "regularizer": GroupLasso()}
    result = checked(small_dataset, regularization=10.0, **settings)
    assert result.outcome is Outcome.COMPLETE, result.message


def test_a_gradient_that_is_no_number_is_wrong():
    slopes = Slopes(np.ones(2), np.ones(2), np.zeros(2, dtype=np.int64))
    compared = Compared.of(np.array([np.nan, 1.0]), slopes, np.zeros((2, 2), dtype=np.int64))
    result = verdict(1e-5, {"data": compared})
    assert result.outcome is Outcome.FAILED
    assert result.message.startswith("wrong: ")


@pytest.mark.parametrize(
    ("largest", "grade"),
    [(0.011, "wrong"), (0.01, "doubtful"), (1.1e-4, "doubtful"), (1e-4, "passes"), (1.1e-7, "passes"), (1e-7, "good")],
)
def test_the_largest_error_has_the_grade_of_the_notes(largest, grade):
    slopes, places = Slopes(np.ones(2), np.ones(2), np.zeros(2, dtype=np.int64)), np.zeros((2, 2), dtype=np.int64)
    compared = Compared(analytic=np.ones(2), slopes=slopes, errors=np.array([0.0, largest]), places=places)
    result = verdict(1e-5, {"data": compared})
    assert result.message.startswith(f"{grade}: ")
    assert result.outcome is (Outcome.FAILED if grade in {"wrong", "doubtful"} else Outcome.COMPLETE)


def test_where_every_coordinate_has_a_kink_nothing_is_compared_and_that_is_no_success():
    slopes = Slopes(np.zeros(2), np.ones(2), np.ones(2, dtype=np.int64))
    compared = Compared.of(np.array([0.5, 0.5]), slopes, np.zeros((2, 2), dtype=np.int64))
    result = verdict(1e-5, {"data": compared})
    assert result.outcome is Outcome.FAILED
    assert result.message.startswith("nothing compared")


def test_where_both_gradients_are_0_everywhere_that_is_told():
    # given a layer of dead units before one whose analytic gradient alone is 0, and one that is alive
    none, ones = np.zeros(2), np.ones(2)
    layers = {
        name: Compared.of(analytic, Slopes(numerical, numerical, np.zeros(2, dtype=np.int64)), np.zeros((2, 2)))
        for name, analytic, numerical in (("hidden1", none, none), ("hidden2", none, ones), ("scores", ones, ones))
    }
    assert verdict(1e-5, layers).message.endswith("; both gradients are 0 at every coordinate of hidden1")


def test_a_coordinate_with_a_kink_is_the_last_of_the_worst():
    # given relative errors of 0, a tenth, and a half beside a kink
    numerical = np.array([1.0, 2.0, 6.0])
    slopes = Slopes(numerical, numerical, np.array([0, 0, 1]))
    compared = Compared.of(np.array([1.0, 1.8, 3.0]), slopes, np.array([[0, 0, 1], [0, 1, 0]]))
    result = verdict(1e-5, {"data": compared})
    assert result.arrays["worst"].tolist() == [[0, 1], [0, 0], [1, 0]]
    assert result.metrics["gradient_check/largest_relative_error"] == pytest.approx(0.1)
    assert result.metrics["gradient_check/median_relative_error"] == pytest.approx(0.05)
    assert result.metrics["gradient_check/largest_relative_error_at_kinks"] == pytest.approx(0.5)
    assert result.message.startswith("wrong: largest relative error 0.1 over 2 coordinates without a kink, 1 with")
    assert "worst_layer" not in result.arrays


def test_a_network_that_takes_no_such_images_is_refused(small_dataset):
    trial = Trial(task=GradientCheck(), model=ConvNet())
    with pytest.raises(ConfigError, match=r"model=convnet must be given images"):
        trial.task.check(trial, small_dataset)


def test_relative_error_by_hand():
    errors = relative_error(np.array([2.0, 1.0, 0.0]), np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(errors, [0.5, 0, 0])
    # one that is nothing beside the largest is compared with a millionth of that
    np.testing.assert_allclose(relative_error(np.array([2.0, 1e-9]), np.array([2.0, 3e-9])), [0, 1e-3])
    # what may be rounding is compared with what it would be a doubtful share of
    errors = relative_error(np.array([2.0, 1e-3]), np.array([1.0, 2e-3]), resolution=1e-5)
    np.testing.assert_allclose(errors, [0.5, 1e-2])


def test_bad_input(small_dataset):
    with pytest.raises(ConfigError, match=r"task\.variable must be one of data, weights, got 'weight'"):
        GradientCheck(variable="weight")
    with pytest.raises(ConfigError, match=r"task\.h must be > 0, or null, got 0\.0"):
        GradientCheck(h=0.0)
    with pytest.raises(ConfigError, match=r"task\.coordinates must be >= 1, or null for all, got 0"):
        GradientCheck(coordinates=0)
    with pytest.raises(ConfigError, match=r"task\.scale must be > 0, or null, got 0"):
        GradientCheck(scale=0.0)
    with pytest.raises(ConfigError, match=r"task\.examples must be >= 1, or null .*, got 0"):
        GradientCheck(examples=0)
    with pytest.raises(ConfigError, match=r"task\.examples must be at most the 2150 training examples"):
        GradientCheck(examples=2151).check(Trial(task=GradientCheck()), small_dataset)


def squashed(features):
    return np.concatenate([np.tanh(features[:, :-1] / 8), features[:, -1:]], axis=1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OfSquashedPixels(Linear):
    """Scores that are linear in the weights, and not in the pixels."""

    def arrange(self, *args, **options):
        return ArrangementOfSquashed(linear=Linear().arrange(*args, **options))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ArrangementOfSquashed:
    linear: Any

    def __getattr__(self, name):
        if name in {"scores", "scores_and_vjp", "last_layer_inputs"}:
            return lambda rows, features: getattr(self.linear, name)(rows, squashed(features))
        return getattr(self.linear, name)

    def data_gradient(self, rows, features, slope):
        return self.linear.data_gradient(rows, features, slope) * (1 - squashed(features)[:, :-1] ** 2) / 8


@pytest.mark.parametrize("variable", ["weights", "data"])
@pytest.mark.parametrize("loss", LOSSES)
def test_scores_that_are_not_linear_in_the_pixels_pass(small_dataset, loss, variable):
    task = GradientCheck(variable=variable)
    result = checked(small_dataset, task=task, model=OfSquashedPixels(), loss=LOSSES[loss]())
    assert result.outcome is Outcome.COMPLETE, result.message
