import dataclasses

import numpy as np
import pytest

from tasks.errors import ConfigError
from tasks.events import Outcome
from tasks.gradient_check import GradientCheck, relative_error
from tasks.gradients import numerical_gradient
from tasks.losses import LOSSES, Svm
from tasks.regularizers import REGULARIZERS
from tasks.trial import Trial
from tests.tasks import plain


def checked(dataset, **changes):
    task = changes.pop("task", GradientCheck())
    trial = Trial(task=task, **changes)
    (result,) = task.run([trial], dataset, threads=1)
    return result


@pytest.mark.parametrize("variable", ["weights", "data"])
@pytest.mark.parametrize("regularizer", REGULARIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_gradient_passes(small_dataset, loss, regularizer, variable):
    task = GradientCheck(variable=variable)
    row = LOSSES[loss]()
    result = checked(small_dataset, task=task, loss=row, regularizer=REGULARIZERS[regularizer](), regularization=0.1)
    assert result.outcome is Outcome.COMPLETE, result.message
    assert result.metrics["gradient_check/median_relative_error"] < 1e-7


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WrongSvm(Svm):
    """An SVM whose gradient forgets the correct class of every example."""

    def losses_and_gradient(self, scores, labels):
        losses, gradient = Svm.losses_and_gradient(self, scores, labels)
        return losses, np.maximum(gradient, 0)


@pytest.mark.parametrize("variable", ["weights", "data"])
def test_a_wrong_gradient_fails(small_dataset, variable):
    result = checked(small_dataset, task=GradientCheck(variable=variable), loss=WrongSvm())
    assert result.outcome is Outcome.FAILED
    assert result.message.startswith("wrong: largest relative error")


def test_a_single_wrong_coordinate_fails(small_dataset):
    @dataclasses.dataclass(frozen=True)
    class SlightlyWrong(Svm):
        def losses_and_gradient(self, scores, labels):
            losses, gradient = Svm.losses_and_gradient(self, scores, labels)
            return losses, gradient * np.where(np.arange(5) == 3, 1.001, 1.0)[:, None]

    result = checked(small_dataset, loss=SlightlyWrong())
    assert result.outcome is Outcome.FAILED
    assert result.message.startswith("doubtful")
    assert (result.arrays["worst"][:, 0] == 3).all()


def test_the_numerical_gradient_is_the_plain_loop(small_dataset):
    result = checked(small_dataset, regularization=0.1, task=GradientCheck(examples=None))
    weights = 1e-3 * plain.normal(0, "initial weights", shape=(5, 38)).astype(np.float64)
    trial = Trial(task=GradientCheck(), regularization=0.1)
    coordinates = [(0, 0), (3, 17), (4, 37)]
    gradient = numerical_gradient(lambda w: plain.mean_loss(trial, small_dataset, w), weights, coordinates=coordinates)
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


def test_relative_error_by_hand():
    errors = relative_error(np.array([2.0, 1.0, 0.0]), np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(errors, [0.5, 0, 0])


def test_bad_input(small_dataset):
    with pytest.raises(ConfigError, match=r"task\.variable must be one of data, weights, got 'weight'"):
        GradientCheck(variable="weight")
    with pytest.raises(ConfigError, match=r"task\.examples must be at most the 2150 training examples"):
        GradientCheck(examples=2151).check(Trial(task=GradientCheck()), small_dataset)
