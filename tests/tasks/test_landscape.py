import dataclasses

import numpy as np
import pytest

from tasks.arrays.random_streams import normal, stream
from tasks.errors import ConfigError
from tasks.events import Curve, Outcome
from tasks.fused.problem import Problem
from tasks.losses import LOSSES
from tasks.models import Linear, Mlp
from tasks.regularizers import REGULARIZERS
from tasks.studies.landscape import DIRECTIONS, Landscape
from tasks.studies.train import Train
from tasks.trial import Trial
from tasks.weight_space import points
from tasks.weight_space.directions import main_directions, row_by_row
from tasks.weight_space.points import chosen_examples, objective_values
from tests.tasks import plain
from tests.tasks.landscapes import initial_scale, landscape, trained
from tests.tasks.rows_of_models import SMALL_MODELS

SHAPE = (5, 38)


def arrays(dataset, **options):
    return landscape(dataset, **options)[1].arrays


def second_differences(values):
    return values[2:] - 2 * values[1:-1] + values[:-2]


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("regularizer", REGULARIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_every_point_is_the_plain_loss_there(small_dataset, loss, regularizer, dimensions):
    scale, step = 1e-3, 2e-3
    rows = {"regularizer": REGULARIZERS[regularizer](), "regularization": 0.5, "seed": 3}
    fields = {"dimensions": dimensions, "resolution": 5, "extent": 2.0, "weights_scale": scale, "direction_scale": step}
    found = arrays(small_dataset, loss=loss, trial=rows, **fields)

    weights = np.float32(scale) * normal(3, "initial weights", shape=SHAPE)
    v1, v2 = (np.float32(step) * normal(3, "directions", k, shape=SHAPE) for k in range(2))
    trial = Trial(task=Landscape(), loss=LOSSES[loss](), **rows)
    grid = [-2.0, -1.0, 0.0, 1.0, 2.0]
    across = grid if dimensions == 2 else [0.0]
    expected = [[plain.mean_loss(trial, small_dataset, weights + a * v1 + b * v2) for a in grid] for b in across]
    penalty = [[0.5 * trial.regularizer.penalty(weights + a * v1 + b * v2).sum() for a in grid] for b in across]
    expected, penalty = (np.array(values) if dimensions == 2 else np.array(values)[0] for values in (expected, penalty))

    np.testing.assert_array_equal(found["a"], grid)
    assert ("b" in found) is (dimensions == 2)
    np.testing.assert_allclose(found["data_loss"] + found["regularization_loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["regularization_loss"], penalty, rtol=1e-5)


@pytest.mark.parametrize(("directions", "extent"), [("gaussian", 5), ("filter", 1)])
def test_the_axes_end_at_the_default_extent_and_without_regularization_there_is_no_loss_of_it(
    small_dataset, directions, extent
):
    found = arrays(small_dataset, directions=directions, resolution=3, examples=10)

    assert found["a"].tolist() == found["b"].tolist() == [-extent, 0, extent]
    np.testing.assert_array_equal(found["regularization_loss"], np.zeros((3, 3)))


def test_three_products_serve_every_point(small_dataset, monkeypatch):
    products = []
    scores = Linear.scores_of_points
    monkeypatch.setattr(Linear, "scores_of_points", lambda *a, **k: products.append(a[1].shape) or scores(*a, **k))

    arrays(small_dataset, resolution=20, examples=1000)

    assert products == [(3, SHAPE[0] * SHAPE[1])]


def test_the_svm_loss_of_one_example_is_linear_but_at_its_kinks(small_dataset):
    # Given the scores of one example along the ray, each term's kink is where its linear function crosses 0.
    fields = {"dimensions": 1, "examples": 1, "resolution": 801, "weights_scale": 1e-3, "direction_scale": 1e-3}
    found = arrays(small_dataset, trial={"seed": 1}, **fields)
    n = stream(0, "examples").permutation(len(small_dataset.train))[0]
    x, y = plain.features(small_dataset, small_dataset.train)[n], small_dataset.train.labels[n]
    here = 1e-3 * normal(1, "initial weights", shape=SHAPE) @ x
    along = 1e-3 * normal(1, "directions", 0, shape=SHAPE) @ x
    others = np.arange(5) != y
    kinks = -((here - here[y] + 1) / (along - along[y] + ~others))[others]

    bends = second_differences(found["data_loss"])
    step = found["a"][1] - found["a"][0]
    near = (np.abs(found["a"][1:-1, None] - kinks) <= step).any(axis=1)

    assert near.any()
    assert not near.all()
    assert np.abs(bends[~near]).max() < 1e-5
    assert bends[near].max() > 1e-3


@pytest.mark.parametrize("examples", [1, 100, None])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_slice_is_convex(small_dataset, loss, examples):
    loss = arrays(small_dataset, loss=loss, examples=examples, resolution=41)["data_loss"]
    slices = [*loss, *loss.T, *(flip.diagonal(k) for flip in (loss, loss[::-1]) for k in range(-30, 31, 5))]

    for values in slices:
        assert second_differences(values).min() > -1e-6 * loss.max()
    assert max(second_differences(values).max() for values in slices) > 1e-3 * loss.max(), "it is no plane"


def test_the_bits_depend_on_no_thread(small_dataset):
    one, two = (arrays(small_dataset, threads=n, resolution=70, trial={"regularization": 0.1}) for n in (1, 2))

    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])


def test_the_scale_of_itself_gives_scores_of_about_one(small_dataset):
    like = np.empty(0, np.float32)
    problem = Problem.of([Trial(task=Landscape())], small_dataset, like=like, threads=1)

    x = plain.features(small_dataset, small_dataset.train)
    draws = np.stack([normal(seed, "directions", 0, shape=SHAPE) for seed in range(40)]).reshape(-1, 38)

    assert (problem.natural_scale * draws @ x.T).std() == pytest.approx(1, rel=0.1)
    network = Problem.of([Trial(task=Landscape(), model=Mlp())], small_dataset, like=like, threads=1)
    assert network.natural_scale == 1, "the draw of a network is scaled already"


def test_around_trained_weights_is_around_what_training_makes(small_dataset):
    settings = {"learning_rate": 1e-5, "batch_size": 64, "steps": 60, "evaluate_every": 30}
    *curves, result = landscape(small_dataset, around="trained", resolution=5, trial=settings)
    trained = list(Train().run([Trial(task=Train(), **settings)], small_dataset, threads=1))

    assert len(curves[0]) == len(trained) - 1
    assert all(isinstance(curve, Curve) for curve in curves[0])
    np.testing.assert_array_equal(result.arrays["weights"], trained[-1].arrays["weights"])
    assert result.metrics["test/accuracy"] == trained[-1].metrics["test/accuracy"]
    assert result.step == 60
    assert np.unravel_index(result.arrays["data_loss"].argmin(), (5, 5)) == (2, 2), "training ends at the bottom"


def objective(problem, point, batch):
    """Return the loss at one point, evaluated alone."""
    data, regularization = objective_values(problem, point[None, :].astype(np.float32), batch)
    return float(data[0] + regularization[0])


@pytest.mark.parametrize("directions", DIRECTIONS)
@pytest.mark.parametrize("model", SMALL_MODELS)
def test_every_point_of_every_model_is_the_loss_there(image_dataset, model, directions):
    settings = {"model": SMALL_MODELS[model], "loss": LOSSES["softmax"](), "regularization": 0.01, "seed": 2}
    settings |= {"learning_rate": 1e-3, "batch_size": 32, "steps": 20, "evaluate_every": 5}
    task = Landscape(resolution=4, examples=50, around="trained", directions=directions)
    found = landscape(image_dataset, trial=settings | {"task": task})[1].arrays

    trial = Trial(task=task, **settings)
    problem = Problem.of([trial], image_dataset, like=np.empty(0, np.float32), threads=1)
    weights = np.concatenate([found[name].ravel() for name in problem.shapes])
    if directions == "path":
        steps = [[event.arrays["weights"][0]] for event in trained(trial, image_dataset, 5)]
        axes, _ = main_directions(np.concatenate([problem.initial_weights([initial_scale(trial)]), *steps]), 2)
    elif directions == "filter":
        axes = row_by_row(problem, weights, 2, scale=None)
    else:
        axes = [problem.natural_scale * problem.draw(2, "directions", k) for k in range(2)]
    batch = chosen_examples(problem, 50)
    expected = [
        [objective(problem, weights + a * axes[0] + b * axes[1], batch) for a in found["a"]] for b in found["b"]
    ]
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found["data_loss"] + found["regularization_loss"], expected, rtol=1e-4)


@pytest.mark.parametrize("model", SMALL_MODELS)
def test_a_row_of_a_filter_direction_is_as_long_as_that_of_the_weights(image_dataset, model):
    trial = Trial(task=Landscape(directions="filter"), model=SMALL_MODELS[model])
    problem = Problem.of([trial], image_dataset, like=np.empty(0, np.float32), threads=1)
    weights = problem.initial_weights([1.0])[0]
    for scale, times in ((3.0, 3), (None, 1)):
        directions = row_by_row(problem, weights, 2, scale=scale)
        assert not np.array_equal(*directions)
        for direction in directions:
            for matrix, own in zip(problem.matrices(direction), problem.matrices(weights), strict=True):
                lengths = times * np.linalg.norm(own, axis=1)
                np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), lengths, rtol=1e-5)


def test_scaled_units_of_relu_change_nothing_of_a_filter_landscape_along_their_rows(image_dataset):
    # given a network, and the same function with a hidden unit 8 times as large and what it feeds an eighth
    trial = Trial(task=Landscape(), model=Mlp(hidden=(7,)), loss=LOSSES["softmax"]())
    problem = Problem.of([trial], image_dataset, like=np.empty(0, np.float64), threads=1)
    weights = problem.initial_weights([1.0])[0]
    scaled = weights.copy()
    hidden, scores = problem.matrices(scaled)
    hidden[2] *= 8
    scores[:, 2] /= 8
    batch = chosen_examples(problem, 50)
    # then the landscape along the hidden layer's rows is the same
    losses = []
    for point in (weights, scaled):
        direction = row_by_row(problem, point, 1, scale=None)[0].astype(np.float64)
        problem.matrices(direction)[1][...] = 0
        losses.append([objective(problem, point + a * direction, batch) for a in (-1, 0, 0.5, 1)])
    np.testing.assert_allclose(*losses, rtol=1e-5)


@pytest.mark.parametrize("model", SMALL_MODELS)
def test_the_bits_of_a_networks_landscape_depend_on_no_thread(image_dataset, model):
    settings = {"model": SMALL_MODELS[model], "regularization": 0.1}
    one, two = (arrays(image_dataset, threads=n, resolution=9, trial=settings) for n in (1, 2))
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name])


def test_how_many_points_are_evaluated_at_once_changes_no_bit(image_dataset, monkeypatch):
    settings = {"model": Mlp(hidden=(7,))}
    whole = arrays(image_dataset, resolution=5, trial=settings)["data_loss"]
    monkeypatch.setattr(points, "_NUMBERS", 1)
    np.testing.assert_array_equal(arrays(image_dataset, resolution=5, trial=settings)["data_loss"], whole)


def test_training_that_diverges_has_no_landscape(small_dataset):
    settings = {"learning_rate": 1e30, "batch_size": 64, "steps": 60, "regularization": 1.0}
    _, result = landscape(small_dataset, around="trained", trial=settings)

    assert result.outcome is Outcome.DIVERGED
    assert "ceased to be finite" in result.message
    assert "data_loss" not in result.arrays


@pytest.mark.parametrize("model", ["linear", "mlp"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_landscape_whose_far_points_overflow_is_infinite_there(image_dataset, loss, model):
    # given a plane whose corners are so far that neither scores nor the penalty fit in float32
    trial = {"model": SMALL_MODELS[model], "regularization": 0.0 if loss == "svm" else 1.0}
    _, result = landscape(image_dataset, loss=loss, trial=trial, resolution=3, extent=1e37, direction_scale=10.0)

    assert np.isfinite(result.arrays["data_loss"][1, 1])
    assert not np.isnan(result.arrays["data_loss"]).any()
    assert not np.isnan(result.arrays["regularization_loss"]).any()
    assert result.metrics["landscape/lowest_loss"] == pytest.approx(
        result.arrays["data_loss"][1, 1] + result.arrays["regularization_loss"][1, 1]
    )
    assert result.metrics["landscape/highest_loss"] == np.inf


def test_only_training_makes_its_settings_count():
    trial = Trial(task=Landscape())
    random, trained = Landscape(), Landscape(around="trained", examples=10)

    assert {"learning_rate", "strategy", "steps", "data_seed"} <= random.unused(trial)
    assert trained.unused(trial) == frozenset()
    assert "data_seed" not in Landscape(examples=10).unused(trial)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dimensions", 3, r"task\.dimensions must be 1 or 2, got 3"),
        ("extent", 0.0, r"task\.extent must be > 0, or null, got 0\.0"),
        (
            "directions",
            "pth",
            r"task\.directions must be one of filter, gaussian, path, got 'pth' \(did you mean 'path'\?\)",
        ),
        ("resolution", 1, r"task\.resolution must be >= 2, got 1"),
        ("examples", 0, r"task\.examples must be >= 1, or null for the full training set, got 0"),
        ("around", "traned", r"task\.around must be one of random, trained, got 'traned' \(did you mean 'trained'\?\)"),
        ("weights_scale", -1.0, r"task\.weights_scale must be >= 0, or null for scores of about 1, got -1\.0"),
        ("direction_scale", 0.0, r"task\.direction_scale must be > 0, or null for scores of about 1, got 0\.0"),
    ],
)
def test_bad_fields_are_refused(field, value, message):
    with pytest.raises(ConfigError, match=message):
        Landscape(**{field: value})


def test_too_many_examples_are_refused(small_dataset):
    task = Landscape(examples=2151)
    with pytest.raises(ConfigError, match=r"task\.examples must be at most the 2150 training examples of small"):
        task.check(Trial(task=task), small_dataset)
    task = Landscape(examples=2150)
    task.check(Trial(task=task), small_dataset)
    trained = Landscape(around="trained")
    with pytest.raises(ConfigError, match=r"batch_size must be at most the 2150"):
        trained.check(Trial(task=trained, batch_size=3000), small_dataset)
    trained.check(dataclasses.replace(Trial(task=trained), batch_size=None), small_dataset)
    Landscape().check(Trial(task=Landscape()), dataclasses.replace(small_dataset, classes=("a", "b")))
    with pytest.raises(ConfigError, match="dataset must have at least two classes for a landscape"):
        Landscape().check(Trial(task=Landscape()), dataclasses.replace(small_dataset, classes=("a",)))
