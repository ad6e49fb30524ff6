"""The contract of an arrangement, for every network."""

import tracemalloc

import numpy as np
import pytest
from array_api_compat import array_namespace

from tasks.arrays.devices import HOST, as_numpy, device_put
from tasks.arrays.products import panel_of_descent
from tasks.models.convnet import ConvNet
from tasks.models.mlp import Mlp
from tests.tasks import kernels, plain
from tests.tasks.backends import OTHERS, distance, like_of

NETWORKS = {
    "mlp": (Mlp(hidden=(20,)), (3, 8, 8)),
    "mlp_deep": (Mlp(hidden=(17, 12), activation="tanh"), (65,)),
    "mlp_wide": (Mlp(hidden=(100,)), (3, 32, 32)),
    "mlp_tanh": (Mlp(hidden=(32,), activation="tanh"), (28, 28)),
    "convnet": (ConvNet(channels=(4, 6)), (3, 8, 8)),
    "convnet_cifar10": (ConvNet(), (3, 32, 32)),
    "convnet_deep": (ConvNet(channels=(5,), kernel=5, hidden=(9,)), (9, 11)),
}
LARGE = "convnet_cifar10"
SMALL = ("mlp", "mlp_deep", "convnet", "convnet_deep")


def given(name, *, trials, examples, classes=10, like=HOST):
    """Return a network's arrangement, points, features, and a slope by its scores."""
    model, image_shape = NETWORKS[name]
    rng = np.random.default_rng(0)
    spreads, shapes = model.spreads(image_shape, classes), model.shapes(image_shape, classes)
    draws = [spreads[m] * rng.normal(size=(trials, *shape)) + 0.01 for m, shape in shapes.items()]
    points = np.concatenate([draw.reshape(trials, -1) for draw in draws], axis=1)
    features = np.concatenate([rng.normal(size=(examples, np.prod(image_shape))), np.ones((examples, 1))], axis=1)
    slope = rng.normal(size=(trials, classes, examples))
    arrangement = model.arrange(trials, image_shape, classes, [examples], like=like)
    return arrangement, *(array.astype(like.dtype) for array in (points, features, slope))


def of_trials(name, part, points, features, slope, *, classes=10):
    """Return scores, gradients and data gradient of some of the trials, which are a group of their own."""
    model, image_shape = NETWORKS[name]
    group = model.arrange(len(points[part]), image_shape, classes, [len(features)], like=points)
    rows = group.rows(points[part])
    scores, vjp = group.scores_and_vjp(rows, features)
    np.testing.assert_array_equal(group.scores(rows, features), scores)
    gradients = vjp(slope[part])
    gradient = group.points(gradients)
    assert_parts_are_the_whole(group, [matrix.copy() for matrix in rows], features, slope[part], gradients)
    return scores, gradient, group.data_gradient(rows, features, slope[part]), group.last_layer_inputs(rows, features)


def assert_parts_are_the_whole(group, rows, features, slope, gradients):
    """Compare bits, though the rows of a part change as soon as it is there."""
    _, to_parts = group.scores_and_parts(rows, features)
    seen = [np.zeros(len(matrix), dtype=int) for matrix in rows]
    for matrix, place, gradient in to_parts(slope):
        np.testing.assert_array_equal(gradient, gradients[matrix][place])
        rows[matrix][place] = np.nan
        seen[matrix][place] += 1
    assert all((count == 1).all() for count in seen)


@pytest.mark.parametrize(
    ("name", "examples"), [(n, e) for n in NETWORKS for e in (1, 16, *(() if n == LARGE else (100,)))]
)
def test_a_trial_has_the_same_bits_alone_and_in_any_group(name, examples):
    model, image_shape = NETWORKS[name]
    if isinstance(model, Mlp):
        kernels.skip_without(panel_of_descent(HOST, [examples], np.prod(image_shape) + 1))
    _, *arrays = given(name, trials=7, examples=examples)
    together = of_trials(name, slice(None), *arrays)
    for part in (slice(0, 1), slice(6, 7), slice(1, 3), slice(2, 7)):
        for alone, whole in zip(of_trials(name, part, *arrays), together, strict=True):
            np.testing.assert_array_equal(alone, whole[part])


@pytest.mark.parametrize("kernel", [kernel for kernel in kernels.OTHERS if kernel != "Sandybridge"])
def test_the_same_holds_with_other_kernels_of_the_blas(kernel):
    kernels.assert_same_bits_with(kernel, __file__)


@pytest.mark.parametrize("name", SMALL)
def test_the_gradient_is_that_of_differences(name):
    # given L = sum of c * scores, in double precision
    group, points, features, slope = given(name, trials=2, examples=3, classes=3, like=np.empty(0))

    def loss(_):
        return float(np.sum(slope * group.scores(group.rows(points), features)))

    rows = group.rows(points)
    gradient = group.points(group.scores_and_vjp(rows, features)[1](slope))
    rng = np.random.default_rng(1)
    some = [(k, int(i)) for k in range(2) for i in rng.choice(points.shape[1], size=60, replace=False)]
    chosen = tuple(np.array(some).T)
    differences = plain.numerical_gradient(loss, points, h=1e-6, coordinates=some)
    np.testing.assert_allclose(gradient[chosen], differences[chosen], rtol=1e-5, atol=1e-7)
    # and by the data, where the difference is that of all trials
    by_data = group.data_gradient(rows, features, slope)
    assert by_data.shape == (2, 3, features.shape[1] - 1)
    pixels = [(n, int(i)) for n in range(3) for i in rng.choice(features.shape[1] - 1, size=20, replace=False)]
    chosen = tuple(np.array(pixels).T)
    differences = plain.numerical_gradient(loss, features, h=1e-6, coordinates=pixels)
    np.testing.assert_allclose(by_data.sum(axis=0)[chosen], differences[chosen], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_hold_the_points_and_are_arrays_of_their_own(name):
    group, points, _, _ = given(name, trials=5, examples=4)
    before = points.copy()
    rows = group.rows(points)
    np.testing.assert_array_equal(group.points(rows), points)
    numbered = group.rows(np.broadcast_to(np.arange(5, dtype=np.float32)[:, None], points.shape))
    for layout, matrix, count in zip(group.layouts, numbered, rows, strict=True):
        owners = layout.owners()
        assert owners.shape == (len(count),)
        # a row holds its owner's numbers, or zeros
        np.testing.assert_array_equal(matrix, np.where(matrix.any(axis=1), owners, 0)[:, None] + 0 * matrix)
    for matrix in rows:
        matrix[...] = 1
    np.testing.assert_array_equal(points, before)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_matrix_times_its_inputs_are_the_scores(name):
    group, points, features, _ = given(name, trials=3, examples=4, like=np.empty(0))
    model, image_shape = NETWORKS[name]
    last = points[:, -np.prod(model.shapes(image_shape, 10)["scores"]) :].reshape(3, 10, -1)
    inputs = group.last_layer_inputs(group.rows(points), features)
    np.testing.assert_allclose(last @ inputs.swapaxes(1, 2), group.scores(group.rows(points), features))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("backend", OTHERS)
def test_every_library_computes_the_same(backend, name):
    like = like_of(backend)
    group, *arrays = given(name, trials=3, examples=6)
    model, image_shape = NETWORKS[name]
    there = model.arrange(3, image_shape, 10, [6], like=like)
    points, features, slope = (device_put(array, like) for array in arrays)
    rows = there.rows(points)
    scores, vjp = there.scores_and_vjp(rows, features)
    expected, expected_vjp = group.scores_and_vjp(group.rows(arrays[0]), arrays[1])
    assert array_namespace(scores) is array_namespace(like)
    assert distance(as_numpy(scores), expected) < 1e-5
    assert distance(as_numpy(there.points(vjp(slope))), group.points(expected_vjp(arrays[2]))) < 1e-5
    data = group.data_gradient(group.rows(arrays[0]), *arrays[1:])
    assert distance(as_numpy(there.data_gradient(rows, features, slope)), data) < 1e-5
    last = group.last_layer_inputs(group.rows(arrays[0]), arrays[1])
    assert distance(as_numpy(there.last_layer_inputs(rows, features)), last) < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_a_diverged_trial_touches_its_own_numbers_only(name):
    _, points, features, slope = given(name, trials=3, examples=5)
    clean = of_trials(name, slice(None), points, features, slope)
    points[1], slope[1] = np.inf, np.nan
    with np.errstate(invalid="ignore", over="ignore"):
        spoilt = of_trials(name, slice(None), points, features, slope)
    for one, other in zip(spoilt, clean, strict=True):
        np.testing.assert_array_equal(one[[0, 2]], other[[0, 2]])


@pytest.mark.parametrize("trials", [1, 5])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_keeps_no_more_numbers_than_the_model_says(name, trials):
    model, image_shape = NETWORKS[name]
    examples = 256 if isinstance(model, Mlp) else 16
    group, points, features, slope = given(name, trials=trials, examples=examples)
    rows = group.rows(points)
    group.scores_and_vjp(rows, features)[1](slope)  # what is made once is there
    tracemalloc.start()
    try:
        gradients = group.scores_and_vjp(rows, features)[1](slope)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # beside the gradients, which a convolutional network joins of those of every trial, and rows that nobody has
    beside = (1 if isinstance(model, Mlp) else 2) * sum(gradient.size for gradient in gradients)
    beside += 2 * examples * sum(layout.height - layout.places.size for layout in group.layouts)
    told = trials * model.stored_activations(image_shape, 10) + model.transient_activations(image_shape, 10)
    assert 0 < peak / points.itemsize - beside < examples * told
