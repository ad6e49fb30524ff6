import numpy as np
import pytest

from tasks.arrays.products import layout_of
from tasks.models import layers
from tasks.models.layers import (
    Affine,
    Convolution,
    Flattening,
    MaxPooling,
    Patches,
    Relu,
    SharedAffine,
    SharedConvolution,
    Tanh,
    Unflattening,
)
from tests.tasks import plain

RNG = np.random.default_rng(3)


def drawn(*shape):
    # distinct numbers at least 1e-2 from one another and from 0: no kink of relu or max pooling is crossed
    numbers = np.arange(1, np.prod(shape) + 1) * 0.02 * RNG.choice([-1, 1], size=np.prod(shape))
    return RNG.permutation(numbers).reshape(shape)


# of every layer: inputs of one or more trials, and rows of weights
LAYERS = {
    "relu": (Relu(), drawn(2, 3, 4), []),
    "tanh": (Tanh(), drawn(2, 3, 4), []),
    "affine": (Affine(units=3), drawn(2, 4, 5), [drawn(6, 5)]),
    "affine_one_trial": (Affine(units=3), drawn(1, 4, 5), [drawn(3, 5)]),
    "affine_one_example": (Affine(units=3), drawn(2, 4, 1), [drawn(6, 5)]),
    "shared_affine": (SharedAffine(layout=layout_of(2, 3, None), part=4), drawn(5, 4), [drawn(6, 4)]),
    "images": (Unflattening(shape=(2, 3, 4)), drawn(5, 25), []),
    "flattening": (Flattening(), drawn(2, 3, 4, 2, 5), []),
    "max_pooling": (MaxPooling(), drawn(2, 3, 4, 6, 2), []),
    "max_pooling_odd": (MaxPooling(), drawn(2, 1, 5, 3, 2), []),
    "convolution": (Convolution(filters=3, kernel=3), drawn(2, 2, 4, 5, 3), [drawn(6, 19)]),
    "shared_convolution": (SharedConvolution(filters=3), drawn(1, 7, 4, 5, 3), [drawn(6, 7)]),
    "patches": (Patches(kernel=3), drawn(2, 2, 4, 5, 3), []),
    "patches_1x1": (Patches(kernel=1), drawn(2, 2, 4, 5, 3), []),
    "convolution_5x5": (Convolution(filters=2, kernel=5), drawn(1, 1, 3, 4, 2), [drawn(2, 26)]),
    "convolution_1x1": (Convolution(filters=2, kernel=1), drawn(1, 3, 3, 2, 2), [drawn(2, 4)]),
}


def test_every_layer_is_here():
    known = {name for name in layers.__all__ if hasattr(getattr(layers, name), "matrices") and name != "Layer"}
    assert known == {type(layer).__name__ for layer, _, _ in LAYERS.values()}


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_differences(name):
    # given L = sum of c * outputs, whose gradient by the outputs is c
    layer, inputs, weights = LAYERS[name]
    assert len(weights) == layer.matrices
    outputs, to_inputs, to_weights = layer.forward(inputs, *weights)[:3]
    slope = drawn(*outputs.shape)

    def loss(_):
        return float(np.sum(slope * layer.forward(inputs, *weights).outputs))

    # then both halves of the chain rule agree with centred differences
    gradients = [to_inputs(slope), *to_weights(slope)]
    assert len(gradients) == 1 + layer.matrices
    for array, gradient in zip([inputs, *weights], gradients, strict=True):
        differences = plain.numerical_gradient(loss, array, h=1e-4)
        np.testing.assert_allclose(over_trials(gradient, array), differences, rtol=1e-7, atol=1e-7)


def over_trials(gradient, array):
    """Return the gradient by what all trials share, which has one for each, as that of the sum of their losses."""
    if gradient.shape == array.shape:
        return gradient
    return gradient.sum(axis=0, keepdims=gradient.ndim == array.ndim)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_leaves_what_it_is_given(name):
    layer, inputs, weights = LAYERS[name]
    before = [array.copy() for array in (inputs, *weights)]
    outputs, to_inputs, to_weights = layer.forward(inputs, *weights)[:3]
    slope = drawn(*outputs.shape)
    same = slope.copy()
    first = [to_inputs(slope), *to_weights(slope)]
    for array, copy in zip((inputs, *weights, slope), (*before, same), strict=True):
        np.testing.assert_array_equal(array, copy)
    for again, gradient in zip([to_inputs(slope), *to_weights(slope)], first, strict=True):
        np.testing.assert_array_equal(again, gradient)


def test_an_affine_layer_by_hand():
    # given one trial, y = [[1, 2], [3, 4]] x + [5, 6]
    weights = np.array([[1.0, 2.0, 5.0], [3.0, 4.0, 6.0]])
    outputs, to_inputs, to_weights = Affine(units=2).forward(np.array([[[10.0], [1.0]]]), weights)[:3]
    np.testing.assert_array_equal(outputs, [[[17], [40]]])
    # when dL/dy = (1, -1)
    slope = np.array([[[1.0], [-1.0]]])
    # then dL/dx = W^T dL/dy and dL/dW = dL/dy x^T
    np.testing.assert_array_equal(to_inputs(slope), [[[-2], [-2]]])
    np.testing.assert_array_equal(to_weights(slope)[0], [[10, 1, 1], [-10, -1, -1]])


def test_a_shared_affine_layer_is_an_affine_one_of_every_trial():
    features, weights, slope = drawn(7, 5), drawn(6, 5), drawn(3, 2, 7)
    features[:, -1] = 1
    shared = SharedAffine(layout=layout_of(3, 2, None), part=6).forward(features, weights)
    alike = Affine(units=2).forward(np.broadcast_to(features[:, :-1].T, (3, 4, 7)), weights)
    np.testing.assert_allclose(shared.outputs, alike.outputs)
    np.testing.assert_allclose(shared.to_weights(slope)[0], alike.to_weights(slope)[0])
    np.testing.assert_allclose(shared.to_inputs(slope)[..., :-1], alike.to_inputs(slope).swapaxes(1, 2))


def test_max_pooling_by_hand():
    image = np.reshape([[1.0, 2, 5, 5, 9], [4, 3, 5, 5, 9], [9, 9, 9, 9, 9]], (1, 1, 3, 5, 1))
    outputs, to_inputs, _ = MaxPooling().forward(image)[:3]
    np.testing.assert_array_equal(outputs.ravel(), [4, 5])
    # of equal ones the first takes the gradient; the last row and column, which have no partner, take none
    back = to_inputs(np.reshape([7.0, 8.0], (1, 1, 1, 2, 1)))
    np.testing.assert_array_equal(back[0, 0, :, :, 0], [[0, 0, 8, 0, 0], [7, 0, 0, 0, 0], [0, 0, 0, 0, 0]])


def test_a_convolution_is_its_formula():
    trials, channels, filters, height, width, examples, kernel = 2, 3, 2, 4, 5, 2, 3
    images = RNG.normal(size=(trials, channels, height, width, examples))
    rows = RNG.normal(size=(trials * filters, channels * kernel**2 + 1))
    outputs = Convolution(filters=filters, kernel=kernel).forward(images, rows).outputs
    for k, f, h, w in np.ndindex(trials, filters, height, width):
        weights, bias = rows[k * filters + f, :-1].reshape(channels, kernel, kernel), rows[k * filters + f, -1]
        answer = np.full(examples, bias)
        for c, i, j in np.ndindex(channels, kernel, kernel):
            y, x = h + i - 1, w + j - 1
            if 0 <= y < height and 0 <= x < width:
                answer += weights[c, i, j] * images[k, c, y, x]
        np.testing.assert_allclose(outputs[k, f, h, w], answer)


def test_a_shared_convolution_of_patches_is_a_convolution_of_every_trial():
    images, weights, slope = drawn(1, 2, 4, 5, 3), drawn(6, 19), drawn(2, 3, 4, 5, 3)
    cut = Patches(kernel=3).forward(images)
    shared = SharedConvolution(filters=3).forward(cut.outputs, weights)
    alike = Convolution(filters=3, kernel=3).forward(np.concatenate([images, images]), weights)
    np.testing.assert_allclose(shared.outputs, alike.outputs)
    np.testing.assert_allclose(shared.to_weights(slope)[0], alike.to_weights(slope)[0])
    np.testing.assert_allclose(cut.to_inputs(shared.to_inputs(slope)), alike.to_inputs(slope))


def test_nan_of_one_trial_stays_there():
    for layer, inputs, weights in LAYERS.values():
        if inputs.shape[0] != 2:
            continue
        spoilt = inputs.copy()
        spoilt[1] = np.nan
        clean, dirty = layer.forward(inputs, *weights), layer.forward(spoilt, *weights)
        np.testing.assert_array_equal(dirty.outputs[0], clean.outputs[0])
        assert np.isnan(dirty.outputs[1]).any()
        slope = drawn(*clean.outputs.shape)
        np.testing.assert_array_equal(dirty.to_inputs(slope)[0], clean.to_inputs(slope)[0])
