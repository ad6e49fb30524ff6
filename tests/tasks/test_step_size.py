import numpy as np
import pytest

from tasks.arrays.random_streams import normal, stream
from tasks.datasets.dataset import Split, make_dataset
from tasks.datasets.synthetic import Synthetic
from tasks.errors import ConfigError
from tasks.events import Curve, Outcome
from tasks.fused.problem import Problem
from tasks.losses import LOSSES
from tasks.models import ConvNet, Mlp
from tasks.studies.step_size import StepSize, powers_of_ten
from tasks.trial import Trial
from tasks.weight_space.points import chosen_examples, gradient_at
from tests.tasks import plain
from tests.tasks.rows_of_models import SMALL_MODELS

SHAPE = (5, 38)


def table(dataset, *, threads=1, **changes):
    trial = Trial(**changes)
    curve, result = trial.task.run([trial], dataset, threads=threads)
    assert isinstance(curve, Curve)
    return trial, curve, result


def plain_gradient(trial, dataset, weights, index):
    x, y = plain.features(dataset, dataset.train)[index], dataset.train.labels[index]
    _, slope = trial.loss.losses_and_gradient(weights @ x.T, y)
    return slope @ x / len(y) + trial.regularizer.gradient(weights, trial.regularization)


@pytest.mark.parametrize("examples", [300, None])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_table_is_the_plain_one(small_dataset, loss, examples):
    task = StepSize(examples=examples, weights_scale=1e-3)
    trial, curve, result = table(small_dataset, task=task, loss=LOSSES[loss](), regularization=0.1, seed=2, data_seed=5)
    arrays = result.arrays

    index = slice(None) if examples is None else stream(5, "examples").permutation(2150)[:examples]
    weights = (np.float32(1e-3) * normal(2, "initial weights", shape=SHAPE)).astype(np.float64)
    gradient = plain_gradient(trial, small_dataset, weights, index)
    expected = [plain.mean_loss(trial, small_dataset, weights - s * gradient, index) for s in arrays["step_sizes"]]

    np.testing.assert_array_equal(arrays["step_sizes"], [10.0**k for k in range(-10, 0)])
    assert arrays["original_loss"] == pytest.approx(plain.mean_loss(trial, small_dataset, weights, index), rel=1e-6)
    assert arrays["original_loss"] == result.metrics["step_size/original_loss"]
    np.testing.assert_allclose(arrays["data_loss"] + arrays["regularization_loss"], expected, rtol=1e-5)
    np.testing.assert_array_equal(curve.metrics["step_size/loss"], arrays["data_loss"] + arrays["regularization_loss"])
    assert result.outcome is Outcome.COMPLETE
    assert result.metrics["step_size/gradient_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)


@pytest.mark.parametrize("model", SMALL_MODELS)
def test_the_table_of_every_model_is_one_evaluation_after_the_other(image_dataset, model):
    settings = {"model": SMALL_MODELS[model], "regularization": 0.1, "seed": 2, "loss": LOSSES["softmax"]()}
    trial, _, result = table(image_dataset, task=StepSize(examples=60, highest=1), **settings)

    problem = Problem.of([trial], image_dataset, like=np.empty(0), threads=1)
    batch = chosen_examples(problem, 60)
    weights = np.float64(np.concatenate([result.arrays[name].ravel() for name in problem.shapes]))
    np.testing.assert_array_equal(weights, np.float32(problem.natural_scale) * problem.draw(2, "initial weights"))
    gradient = gradient_at(problem, weights[None, :], batch)
    after = [problem.loss_and_gradient(weights - s * gradient, batch) for s in result.arrays["step_sizes"]]
    expected = [float(data[0] + regularization[0]) for _, data, regularization, _ in after]
    np.testing.assert_allclose(result.arrays["data_loss"] + result.arrays["regularization_loss"], expected, rtol=1e-9)
    # and the smallest step goes down as the gradient says
    fall = result.metrics["step_size/original_loss"] - expected[2]
    assert result.arrays["step_sizes"][2] == 1e-8
    assert fall == pytest.approx(1e-8 * result.metrics["step_size/gradient_norm"] ** 2, rel=1e-3)


def test_the_table_of_a_network_by_hand():
    # given one-dimensional examples 2, 0 and 4 of classes 0, 1 and 1, one hidden relu unit, and two scores
    three = make_dataset(
        name="three",
        train=Split(images=np.array([[2], [0], [4]], np.uint8), labels=np.array([0, 1, 1])),
        test=Split(images=np.array([[2]], np.uint8), labels=np.array([0])),
        classes=("a", "b"),
        image_shape=(1,),
        validation=0,
    )
    task = StepSize(lowest=-2, highest=0)
    _, _, result = table(three, task=task, model=Mlp(hidden=(1,)), loss=LOSSES["svm"](margin=1.0), seed=0)
    w, c = (result.arrays[name].astype(np.float64) for name in ("hidden1", "scores"))
    # mean 2: the features are 0, -2 and 2, each with its 1; biases are 0, so the first example is at a kink
    x = np.array([[0.0, 1], [-2, 1], [2, 1]])
    y = np.array([0, 1, 1])

    def loss(w, c):
        hidden = np.maximum(0, x @ w[0])
        scores = np.outer(hidden, c[:, 0]) + c[:, 1]
        correct = scores[np.arange(3), y]
        return np.maximum(0, scores[np.arange(3), 1 - y] - correct + 1).mean()

    def gradient(w, c):
        by_w, by_c = np.zeros_like(w), np.zeros_like(c)
        for n in range(3):
            hidden = max(0.0, x[n] @ w[0])
            scores = c[:, 0] * hidden + c[:, 1]
            if scores[1 - y[n]] - scores[y[n]] + 1 > 0:
                for j, sign in ((1 - y[n], 1), (y[n], -1)):
                    by_c[j] += np.array([hidden, 1]) * sign / 3
                    if hidden > 0:
                        by_w[0] += sign * c[j, 0] * x[n] / 3
        return by_w, by_c

    by_w, by_c = gradient(w, c)
    expected = [loss(w - s * by_w, c - s * by_c) for s in (0.01, 0.1, 1.0)]
    np.testing.assert_allclose(result.arrays["data_loss"], expected, rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_smallest_step_goes_down_as_the_gradient_says_and_the_largest_overshoots(loss):
    # Given classes that no weights tell apart: where they can, a long step may fit every example.
    mixed = Synthetic(examples=600, features=12, classes=5, spread=2.0).load()
    _, _, result = table(mixed, task=StepSize(), loss=LOSSES[loss]())
    arrays, metrics = result.arrays, result.metrics
    original = metrics["step_size/original_loss"]

    fall = original - arrays["data_loss"][0]

    assert fall == pytest.approx(1e-10 * metrics["step_size/gradient_norm"] ** 2, rel=1e-3)
    assert metrics["step_size/lowest_loss"] < original < arrays["data_loss"][-1]
    assert arrays["data_loss"][-1] == pytest.approx(arrays["data_loss"].max())
    assert "longer steps overshoot" in result.message
    higher = arrays["step_sizes"][arrays["data_loss"] > original][0]
    assert f"above where it started from {higher:.3g} on" in result.message


def test_a_step_so_long_that_scores_overflow_is_not_the_best(image_dataset):
    task = StepSize(lowest=-6, highest=100, examples=50)
    _, curve, result = table(image_dataset, task=task, model=Mlp(hidden=(20, 20, 20, 20)), loss=LOSSES["softmax"]())

    assert np.isinf(curve.metrics["step_size/loss"][-1])
    assert result.metrics["step_size/lowest_loss"] <= result.metrics["step_size/original_loss"]
    assert result.metrics["step_size/best_step_size"] < 1


def test_a_short_table_does_not_overshoot(small_dataset):
    _, _, result = table(small_dataset, task=StepSize(lowest=-10, highest=-8))

    assert result.message.endswith("with a step of 1e-08, the largest tried: no step overshoots")
    assert len(result.arrays["step_sizes"]) == 3


def test_the_bits_depend_on_no_thread(small_dataset):
    one, two = (table(small_dataset, task=StepSize(), threads=n)[2].arrays for n in (1, 2))

    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])


def test_whole_powers_of_ten_are_exact():
    assert powers_of_ten(-3, 0, 5)[::5].tolist() == [1e-3, 1e-2, 1e-1, 1.0]


def test_a_loss_that_stays_at_zero_does_not_overshoot(small_dataset):
    _, _, result = table(small_dataset, task=StepSize(examples=1, highest=1))
    losses = result.arrays["data_loss"]
    best = int(np.argmin(losses))
    assert best < len(losses) - 1
    assert (losses[best:] == 0).all()
    assert result.message.endswith("and with every longer one: no step overshoots")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lowest": -1}, r"task\.lowest must be below task\.highest \(-1\), got -1"),
        ({"lowest": -400}, r"task\.lowest must be >= -300, got -400"),
        ({"highest": 101}, r"task\.highest must be <= 100, got 101"),
        ({"per_decade": 0}, r"task\.per_decade must be >= 1, got 0"),
        ({"examples": -1}, r"task\.examples must be >= 1"),
        ({"weights_scale": -1.0}, r"task\.weights_scale must be >= 0"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        StepSize(**fields)


def test_too_many_examples_are_refused(small_dataset):
    task = StepSize(examples=9999)
    with pytest.raises(ConfigError, match=r"task\.examples must be at most the 2150 training examples of small"):
        task.check(Trial(task=task), small_dataset)
    with pytest.raises(ConfigError, match=r"model=convnet must be given images"):
        StepSize().check(Trial(task=task, model=ConvNet()), small_dataset)


def test_what_is_trained_takes_no_part():
    trial = Trial(task=StepSize())

    assert {"learning_rate", "strategy", "data_seed"} <= StepSize().unused(trial)
    assert "data_seed" not in StepSize(examples=5).unused(trial)
    assert not {"loss", "seed", "regularization"} & StepSize().unused(trial)
