import numpy as np
import pytest

from tasks.arrays.random_streams import normal
from tasks.errors import ConfigError
from tasks.fused.problem import Problem
from tasks.models.convnet import ConvNet
from tasks.models.mlp import Mlp
from tasks.rows import parse_row
from tasks.studies.train import Train
from tasks.trial import Trial

MODELS = {"mlp": Mlp, "convnet": ConvNet}
CIFAR10 = (3, 32, 32)


def test_the_matrices_of_an_mlp():
    shapes = Mlp(hidden=(100, 50)).shapes(CIFAR10, 10)
    assert dict(shapes) == {"hidden1": (100, 3073), "hidden2": (50, 101), "scores": (10, 51)}
    assert list(shapes) == ["hidden1", "hidden2", "scores"]
    assert Mlp(hidden=(100, 50)).multiplications(CIFAR10, 10) == 100 * 3073 + 50 * 101 + 10 * 51


def test_the_matrices_of_a_convnet():
    shapes = ConvNet(hidden=(64,)).shapes(CIFAR10, 10)
    assert dict(shapes) == {
        "convolution1": (32, 28),
        "convolution2": (64, 289),
        "convolution3": (128, 577),
        "hidden1": (64, 128 * 4 * 4 + 1),
        "scores": (10, 65),
    }
    products = 1024 * 32 * 28 + 256 * 64 * 289 + 64 * 128 * 577 + 64 * 2049 + 10 * 65
    assert ConvNet(hidden=(64,)).multiplications(CIFAR10, 10) == products


def test_an_image_without_channels_has_one_and_odd_sizes_are_halved_down():
    assert dict(ConvNet(channels=(4, 5)).shapes((7, 9), 3)) == {
        "convolution1": (4, 10),
        "convolution2": (5, 37),
        "scores": (3, 5 * 1 * 2 + 1),
    }


def test_weights_start_as_wide_as_the_rule_says_and_biases_at_0():
    he = Mlp(hidden=(100,)).spreads(CIFAR10, 10)
    assert {name: spread.shape for name, spread in he.items()} == {"hidden1": (1, 3073), "scores": (1, 101)}
    np.testing.assert_allclose(he["hidden1"], [[np.sqrt(2 / 3072)] * 3072 + [0]])
    np.testing.assert_allclose(he["scores"], [[np.sqrt(2 / 100)] * 100 + [0]])
    xavier = Mlp(hidden=(100,), initial="xavier").spreads(CIFAR10, 10)
    np.testing.assert_allclose(xavier["scores"], [[np.sqrt(2 / 110)] * 100 + [0]])
    np.testing.assert_array_equal(Mlp(initial="0.01").spreads(CIFAR10, 10)["scores"], [[0.01] * 100 + [0]])


def test_a_draw_is_as_wide_as_the_model_says(image_dataset):
    trial = Trial(task=Train(), model=Mlp(hidden=(7,)))
    problem = Problem.of([trial], image_dataset, like=np.empty(0, np.float32), threads=1)
    spreads = trial.model.spreads(image_dataset.image_shape, len(image_dataset.classes))
    unscaled = problem.named(normal(3, "initial weights", shape=(problem.size,)))
    for name, matrix in problem.named(problem.draw(3, "initial weights")).items():
        np.testing.assert_array_equal(matrix, unscaled[name] * spreads[name].astype(np.float32))


def test_a_filter_has_the_inputs_of_its_patch_and_the_outputs_of_as_many_pixels():
    he, xavier = (ConvNet(initial=initial).spreads(CIFAR10, 10)["convolution2"] for initial in ("he", "xavier"))
    np.testing.assert_allclose(he, [[np.sqrt(2 / 288)] * 288 + [0]])
    np.testing.assert_allclose(xavier, [[np.sqrt(2 / (288 + 64 * 9))] * 288 + [0]])


def test_a_config_names_a_rule_or_a_number():
    assert parse_row(MODELS, "model", {"name": "mlp", "hidden": [20, 10], "initial": 1e-3}).initial == "0.001"
    assert parse_row(MODELS, "model", {"name": "convnet", "channels": [8], "kernel": 5}).channels == (8,)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("mlp", {"hidden": []}, r"model.hidden must name the width of at least one layer, got \[\]"),
        ("mlp", {"hidden": [10, 0]}, r"model.hidden must be widths >= 1, got \[10, 0\]"),
        (
            "mlp",
            {"activation": "rleu"},
            r"model.activation must be one of relu, tanh, got 'rleu' \(did you mean 'relu'",
        ),
        (
            "mlp",
            {"initial": "hee"},
            r"model.initial must be one of a number, he, xavier, got 'hee' \(did you mean 'he'",
        ),
        ("mlp", {"initial": -1}, r"model.initial must be a finite number >= 0, got '-1'"),
        ("mlp", {"initial": "nan"}, r"model.initial must be a finite number >= 0, got 'nan'"),
        ("convnet", {"channels": []}, r"model.channels must name the channels of at least one block, got \[\]"),
        ("convnet", {"channels": [0]}, r"model.channels must be numbers >= 1, got \[0\]"),
        ("convnet", {"kernel": 2}, r"model.kernel must be an odd number >= 1, got 2"),
        ("convnet", {"hidden": [0]}, r"model.hidden must be widths >= 1, got \[0\]"),
        ("convnet", {"initial": "inf"}, r"model.initial must be a finite number >= 0, got 'inf'"),
    ],
)
def test_a_model_that_cannot_be_is_refused(name, values, message):
    with pytest.raises(ConfigError, match=message):
        parse_row(MODELS, "model", {"name": name, **values})


@pytest.mark.parametrize(
    "ask", ["check", "shapes", "spreads", "arrange", "block", "stored_activations", "multiplications"]
)
def test_a_convnet_refuses_what_is_no_image_and_what_is_too_small(ask):
    def asked(image_shape):
        arguments = {"check": [], "arrange": [10, [4]]}.get(ask, [10])
        first = [2] if ask == "arrange" else []
        keywords = {"like": np.empty(0, "f4")} if ask == "arrange" else {}
        return getattr(ConvNet(), ask)(*first, image_shape, *arguments, **keywords)

    with pytest.raises(ConfigError, match=r"model=convnet must be given images .*, got features of shape 64$"):
        asked((64,))
    message = r"model.channels must name at most .* got \[32, 64, 128\]: 3 blocks need .* 8x8 pixels, these are 3x32x7$"
    with pytest.raises(ConfigError, match=message):
        asked((3, 32, 7))
    asked((8, 8))


def test_a_convnet_works_on_a_power_of_2_of_examples_and_fewer_where_images_are_large():
    blocks = [ConvNet().block(shape, 10) for shape in ((8, 8), (1, 28, 28), CIFAR10, (3, 64, 64), (3, 999, 999))]
    assert blocks == [256, 16, 16, 4, 1]
    assert Mlp().block(CIFAR10, 10) is None


def test_an_mlp_takes_features_of_any_shape():
    Mlp().check((37,))
    Mlp().check(CIFAR10)
