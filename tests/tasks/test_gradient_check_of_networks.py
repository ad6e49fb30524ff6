"""The gradient check of networks: layers, kinks, and the last layer in score space."""

import dataclasses

import numpy as np
import pytest

from tasks.events import Outcome
from tasks.fused.problem import Problem
from tasks.losses import LOSSES
from tasks.models import ConvNet, Mlp
from tasks.models.layers import Relu
from tasks.regularizers import REGULARIZERS
from tasks.studies.compared_gradients import layers_of
from tasks.studies.gradient_check import GradientCheck
from tasks.trial import Trial
from tasks.weight_space.points import chosen_examples
from tests.tasks import plain
from tests.tasks.checks import checked
from tests.tasks.rows_of_models import SMALL_MODELS, forward

ROWS = SMALL_MODELS | {"mlp_tanh": Mlp(hidden=(6, 5), activation="tanh", initial="xavier")}


@pytest.mark.parametrize("variable", ["weights", "data"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", ROWS)
def test_every_gradient_of_every_model_passes(image_dataset, model, loss, variable):
    row = ROWS[model]
    task = GradientCheck(variable=variable, examples=20)
    result = checked(image_dataset, task=task, model=row, loss=LOSSES[loss](), regularization=0.1)
    assert result.outcome is Outcome.COMPLETE, result.message
    assert result.metrics["gradient_check/median_relative_error"] < 1e-7
    assert result.metrics["gradient_check/coordinates_with_kinks"] < 0.1 * result.arrays["kinks"].size


def test_of_a_network_all_weights_of_the_last_layer_are_checked_and_some_of_the_others(image_dataset):
    row = ConvNet(channels=(3, 4), hidden=(5,))
    result = checked(image_dataset, model=row, task=GradientCheck(examples=20, coordinates=9))
    # 4 classes x (5 hidden units and the bias)
    assert layers_of(result.arrays) == {
        "convolution1": slice(0, 9),
        "convolution2": slice(9, 18),
        "hidden1": slice(18, 27),
        "scores": slice(27, 27 + 4 * 6),
    }
    np.testing.assert_array_equal(result.arrays["coordinates/scores"][:7], [*[[0, d] for d in range(6)], [1, 0]])
    assert (result.arrays["coordinates/hidden1"] < [5, 4 * 2 * 2 + 1]).all()
    for layer in ("convolution1", "convolution2", "hidden1"):
        assert len(np.unique(result.arrays[f"coordinates/{layer}"], axis=0)) == 9, "none is drawn twice"
    everything = checked(image_dataset, model=row, task=GradientCheck(examples=3, coordinates=None))
    sizes = [3 * (2 * 9 + 1), 4 * (3 * 9 + 1), 5 * (4 * 2 * 2 + 1), 4 * 6]
    assert everything.arrays["analytic"].shape == (sum(sizes),)
    assert all(np.isfinite(array).all() for array in everything.arrays.values()), "numbers, as a comparison wants them"
    # and the drawn ones are those of a check of all, with another seed others
    few = GradientCheck(examples=3, coordinates=9)
    again, other = (checked(image_dataset, model=row, task=few, seed=seed) for seed in (0, 1))
    assert set(again.arrays["analytic"]) < set(everything.arrays["analytic"])
    for layer in ("convolution1", "convolution2", "hidden1"):
        assert not np.array_equal(again.arrays[f"coordinates/{layer}"], other.arrays[f"coordinates/{layer}"])


def test_the_numerical_gradient_of_a_network_is_the_plain_loop(image_dataset):
    # given a network written out, and the notes' loop over its weights
    row, loss = Mlp(hidden=(7, 6)), LOSSES["softmax"]()
    task = GradientCheck(examples=None, coordinates=None, h=1e-5)
    result = checked(image_dataset, model=row, loss=loss, regularization=0.1, task=task)
    trial = Trial(task=task, model=row)
    problem = Problem.of([trial], image_dataset, like=np.empty(0), threads=1)
    point = problem.initial_weights([1.0])[0]
    x, y = plain.features(image_dataset, image_dataset.train), image_dataset.train.labels

    def objective(point):
        matrices = problem.matrices(point)
        data = loss.losses(forward(matrices, x).T, y).mean()
        return data + 0.1 * sum(trial.regularizer.penalty(matrix).sum() for matrix in matrices)

    gradient = plain.numerical_gradient(objective, point, h=1e-5)
    # then the check takes the same differences, by single moves and, for the last layer, in score space
    np.testing.assert_allclose(result.arrays["numerical"], gradient, rtol=1e-5, atol=1e-7)


def test_the_numerical_gradient_by_the_data_of_a_network_is_the_plain_loop(image_dataset):
    row, loss = Mlp(hidden=(7,)), LOSSES["svm"]()
    task = GradientCheck(variable="data", examples=3, coordinates=None, h=1e-4)
    result = checked(image_dataset, model=row, loss=loss, task=task)
    problem = Problem.of([Trial(task=task, model=row)], image_dataset, like=np.empty(0), threads=1)
    matrices = problem.matrices(problem.initial_weights([1.0])[0])
    chosen = chosen_examples(problem, 3).index
    x, y = plain.features(image_dataset, image_dataset.train)[chosen], image_dataset.train.labels[chosen]
    gradient = plain.numerical_gradient(lambda x: float(loss.losses(forward(matrices, x).T, y).sum()), x, h=1e-4)
    assert result.arrays["numerical"].shape == (3, 128)
    np.testing.assert_allclose(result.arrays["numerical"], gradient[:, :-1], rtol=1e-5, atol=1e-7)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InBlocks(Mlp):
    """A network that is given a few examples at once."""

    def block(self, image_shape, classes):
        del image_shape, classes
        return 8


@pytest.mark.parametrize("variable", ["weights", "data"])
def test_blocks_of_examples_change_no_coordinate(image_dataset, variable):
    task = GradientCheck(variable=variable, examples=20, coordinates=9)
    whole, parts = (checked(image_dataset, model=row(hidden=(7,)), task=task) for row in (Mlp, InBlocks))
    assert parts.outcome is Outcome.COMPLETE
    for name in ("analytic", "numerical"):
        np.testing.assert_allclose(parts.arrays[name], whole.arrays[name], rtol=1e-6, atol=1e-8)


class LeakyRelu(Relu):
    """A relu whose gradient is that of another function: it lets a hundredth through where it is off."""

    def forward(self, inputs):
        forward = Relu.forward(self, inputs)
        return forward._replace(to_inputs=lambda slope: slope * np.where(forward.outputs > 0, 1, 0.01))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WrongMlp(Mlp):
    """A network whose backpropagation is wrong before its last activation."""

    def arrange(self, *args, **keywords):
        network = Mlp.arrange(self, *args, **keywords)
        *others, _, last = network.layers
        return dataclasses.replace(network, layers=(*others, LeakyRelu(), last))


def test_a_wrong_layer_is_named(image_dataset):
    result = checked(image_dataset, model=WrongMlp(hidden=(7,)), task=GradientCheck(examples=20))
    assert result.outcome is Outcome.FAILED
    assert "(in hidden1)" in result.message
    assert (result.arrays["worst_layer"] == 0).all()
    assert result.metrics["gradient_check/hidden1/largest_relative_error"] > 1e-2
    assert result.metrics["gradient_check/scores/largest_relative_error"] < 1e-6
    assert checked(image_dataset, model=WrongMlp(), task=GradientCheck(variable="data")).outcome is Outcome.FAILED


def test_the_worst_weights_are_where_they_are_said_to_be(image_dataset):
    result = checked(image_dataset, model=WrongMlp(hidden=(7,)), task=GradientCheck(examples=20, coordinates=None))
    analytic = result.arrays["analytic"][: 7 * 129].reshape(7, 129)
    errors = result.arrays["relative_error"][: 7 * 129].reshape(7, 129)
    for row, column in result.arrays["worst"]:
        assert errors[row, column] >= np.sort(errors, axis=None)[-10]
        assert analytic[row, column] != 0


def test_kinks_of_relu_and_of_max_pooling_are_counted_apart(image_dataset):
    # given a step so large that units are switched on and off, and other pixels become the largest
    for row in (Mlp(hidden=(7,)), ConvNet(channels=(3, 4))):
        task = GradientCheck(h=1e-2, examples=50)
        result = checked(image_dataset, model=row, loss=LOSSES["softmax"](), task=task)
        first = next(iter(layers_of(result.arrays).values()))
        kinks, errors = result.arrays["kinks"][first] > 0, result.arrays["relative_error"][first]
        # then kinks are told though the loss has none
        assert kinks.any()
        assert errors[kinks].max() > 1e-3


@pytest.mark.parametrize("regularizer", ["l1", "l2"])
def test_kinks_of_a_penalty_are_counted_in_every_layer(image_dataset, regularizer):
    # given biases of 0, where the absolute value has a kink
    row = Mlp(hidden=(3,), activation="tanh")
    settings = {"model": row, "loss": LOSSES["softmax"](), "regularizer": REGULARIZERS[regularizer]()}
    result = checked(image_dataset, regularization=1.0, task=GradientCheck(examples=3, coordinates=None), **settings)
    # then these have a kink of the penalty, and no other weight has
    for name, slots in layers_of(result.arrays).items():
        columns = result.arrays[f"coordinates/{name}"][:, 1]
        np.testing.assert_array_equal(
            result.arrays["kinks"][slots] > 0, (columns == columns.max()) & (regularizer == "l1"), err_msg=name
        )


@pytest.mark.parametrize(
    ("variable", "hidden", "loss", "activation", "seed"),
    [
        # given raw pixels, so that a small step changes losses of tens
        ("weights", (50, 50), "softmax", "tanh", 0),
        ("weights", (50, 50), "logistic", "relu", 0),
        # and an example that is so far on the right side that its gradient is lost in the rounding of its loss
        ("data", (20,), "softmax", "tanh", 1),
    ],
)
def test_what_is_lost_in_rounding_makes_no_gradient_wrong(small_dataset, variable, hidden, loss, activation, seed):
    row = Mlp(hidden=hidden, activation=activation)
    task = GradientCheck(variable=variable, examples=1, coordinates=100)
    result = checked(small_dataset, model=row, loss=LOSSES[loss](), task=task, seed=seed, data_seed=seed)
    assert result.outcome is Outcome.COMPLETE, result.message


def test_threads_change_no_bit_of_a_check(image_dataset):
    trial = Trial(task=GradientCheck(examples=40), model=SMALL_MODELS["convnet"], regularization=0.1)
    (one,), (two,) = (trial.task.run([trial], image_dataset, threads=n) for n in (1, 2))
    for name, values in one.arrays.items():
        np.testing.assert_array_equal(values, two.arrays[name])
