import dataclasses
import re

import numpy as np
import pytest

from tasks.arrays.random_streams import normal, stream
from tasks.errors import ConfigError
from tasks.events import Checkpoint, Curve, Outcome, Result
from tasks.fused.problem import Problem
from tasks.losses import LOSSES, Svm
from tasks.models import ConvNet, Linear, Mlp
from tasks.regularizers import REGULARIZERS
from tasks.strategies import STRATEGIES
from tasks.studies.landscape import DIRECTIONS, Landscape
from tasks.studies.train import Train
from tasks.trial import Trial
from tasks.weight_space import points
from tasks.weight_space.directions import main_directions, plane_of_path, row_by_row
from tasks.weight_space.points import chosen_examples, natural_scale, objective_values
from tests.tasks import plain
from tests.tasks.rows_of_models import SMALL_MODELS

SHAPE = (5, 38)


def landscape(dataset, *, threads=1, loss="svm", trial=None, **fields):
    values = {"task": Landscape(**fields), "loss": LOSSES[loss]()} | (trial or {})
    *curves, result = Landscape().run([Trial(**values)], dataset, threads=threads)
    return curves, result


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

    assert (natural_scale(problem) * draws @ x.T).std() == pytest.approx(1, rel=0.1)


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
        axes = [natural_scale(problem) * problem.draw(2, "directions", k) for k in range(2)]
    batch = chosen_examples(problem, 50)
    expected = [
        [objective(problem, weights + a * axes[0] + b * axes[1], batch) for a in found["a"]] for b in found["b"]
    ]
    np.testing.assert_allclose(found["data_loss"] + found["regularization_loss"], expected, rtol=1e-4)


def initial_scale(trial):
    return trial.model.initial_scale(1e-4)


def trained(trial, dataset, every):
    """Yield the checkpoints of a training, and its end as one."""
    problem = Problem.of([trial], dataset, like=np.empty(0, np.float32), threads=1)
    for event in Train().run([trial], dataset, threads=1, checkpoint_every=every):
        if isinstance(event, Checkpoint):
            yield event
        elif isinstance(event, Result):
            weights = np.concatenate([event.arrays[name].ravel() for name in problem.shapes])
            yield Checkpoint(step=event.step, trials=np.array([0]), arrays={"weights": weights[None, :]})


@pytest.mark.parametrize("model", SMALL_MODELS)
def test_a_path_is_where_training_was(image_dataset, model):
    settings = {"model": SMALL_MODELS[model], "loss": LOSSES["softmax"](), "learning_rate": 1e-3, "batch_size": 32}
    settings |= {"steps": 22, "evaluate_every": 5}
    task = Landscape(resolution=5, examples=50, around="trained", directions="path")
    _, result = landscape(image_dataset, trial=settings | {"task": task})

    trial = Trial(task=task, **settings)
    problem = Problem.of([trial], image_dataset, like=np.empty(0, np.float32), threads=1)
    points = [problem.initial_weights([initial_scale(trial)])[0]]
    points += [event.arrays["weights"][0] for event in trained(trial, image_dataset, 5)]
    np.testing.assert_array_equal(result.arrays["path_steps"], [0, 5, 10, 15, 20, 22])
    assert len(points) == 6
    # distances on the plane and off it add up to those in the space of weights
    points = np.array(points, dtype=np.float64)
    centred = points - points.mean(axis=0)
    flat = result.arrays["path"] - result.arrays["path"].mean(axis=0)
    shares = [result.metrics[f"landscape/path_variance_{k}"] for k in (1, 2)]
    assert shares[0] >= shares[1] >= 0
    np.testing.assert_allclose((flat**2).sum(axis=0) / (centred**2).sum(), shares, rtol=1e-6)
    # it ends at the weights, and lies inside the land
    np.testing.assert_allclose(result.arrays["path"][-1], 0, atol=1e-12)
    for axis, places in zip("ab", result.arrays["path"].T, strict=True):
        assert result.arrays[axis][0] < places.min() <= places.max() < result.arrays[axis][-1]
    assert f"{shares[0]:.1%} and {shares[1]:.1%} of the variance of the path's 6 points" in result.message


def test_the_bottom_of_the_linear_models_bowl_is_where_its_path_ends(small_dataset):
    settings = {"learning_rate": 1e-5, "batch_size": None, "steps": 200, "evaluate_every": 20}
    fields = {"around": "trained", "directions": "path", "resolution": 21}
    _, result = landscape(small_dataset, loss="softmax", trial=settings, **fields)
    loss, path = result.arrays["data_loss"], result.arrays["path"]
    # training goes downhill on its own plane
    heights = [loss[np.abs(result.arrays["b"] - b).argmin(), np.abs(result.arrays["a"] - a).argmin()] for a, b in path]
    assert heights[-1] < 0.5 * heights[0]
    assert path[0, 0] < 0, "it comes from the left"
    ray = landscape(small_dataset, loss="softmax", trial=settings, **fields | {"dimensions": 1})[1]
    assert ray.arrays["path"].shape == (11, 1)
    assert re.fullmatch(r"the direction has \d+\.\d% of the variance of the path's 11 points", ray.message)
    assert ray.metrics["landscape/path_variance_1"] == pytest.approx(result.metrics["landscape/path_variance_1"])


@pytest.mark.parametrize("model", SMALL_MODELS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_has_a_path(image_dataset, strategy, model):
    settings = {"model": SMALL_MODELS[model], "strategy": STRATEGIES[strategy](), "loss": LOSSES["softmax"]()}
    settings |= {"batch_size": None, "learning_rate": 1e-3, "steps": 12, "evaluate_every": 4}
    fields = {"around": "trained", "directions": "path", "resolution": 5, "examples": 20}
    _, result = landscape(image_dataset, trial=settings | {"task": Landscape(**fields)})
    assert result.outcome is Outcome.COMPLETE
    np.testing.assert_array_equal(result.arrays["path_steps"], [0, 4, 8, 12])
    assert np.isfinite(result.arrays["data_loss"]).all()
    assert np.ptp(result.arrays["path"], axis=0).max() > 0


def test_main_directions_by_hand():
    # given points that vary by 2 along (3, 4) / 5 and by 1 across it
    along, across = np.array([0.6, 0.8, 0.0]), np.array([-0.8, 0.6, 0.0])
    points = np.array([-2 * along, across, -across, 2 * along]) + 7
    directions, shares = main_directions(points, 2)
    np.testing.assert_allclose(directions[0], along, atol=1e-12)
    np.testing.assert_allclose(np.abs(directions[1]), np.abs(across), atol=1e-12)
    np.testing.assert_allclose(shares, [0.8, 0.2])


def test_a_path_that_goes_nowhere_has_a_plane_all_the_same():
    plane = plane_of_path(np.ones((4, 6)), 2, extent=2.0, resolution=5)
    np.testing.assert_array_equal(plane.shares, [0, 0])
    np.testing.assert_array_equal(plane.axes, [[-2, -1, 0, 1, 2]] * 2)
    # and one that is straight is seen with room beside it
    straight = plane_of_path(np.outer(np.arange(4.0), [0, 3, 4]), 2, extent=2.0, resolution=3)
    np.testing.assert_allclose(straight.axes[0], [-22.5, -7.5, 7.5])
    assert straight.axes[1][-1] - straight.axes[1][0] == pytest.approx(0.75 * 30)


@pytest.mark.parametrize("model", SMALL_MODELS)
def test_a_row_of_a_filter_direction_is_as_long_as_that_of_the_weights(image_dataset, model):
    trial = Trial(task=Landscape(directions="filter"), model=SMALL_MODELS[model])
    problem = Problem.of([trial], image_dataset, like=np.empty(0, np.float32), threads=1)
    weights = problem.initial_weights([1.0])[0]
    directions = row_by_row(problem, weights, 2, scale=3.0)
    assert not np.array_equal(*directions)
    for direction in directions:
        for matrix, own in zip(problem.matrices(direction), problem.matrices(weights), strict=True):
            np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 3 * np.linalg.norm(own, axis=1), rtol=1e-5)


def test_scaled_units_of_relu_change_nothing_of_a_filter_landscape(image_dataset):
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


def test_what_a_path_cannot_be_is_refused(small_dataset):
    for fields, changes, message in (
        ({}, {}, r"task\.around must be trained for task\.directions=path: random weights have no path, got 'random'"),
        (
            {"around": "trained", "direction_scale": 1.0},
            {},
            r"task\.direction_scale must be null for task\.directions=path, whose directions have length 1, got 1\.0",
        ),
        (
            {"around": "trained"},
            {"steps": 100},
            r"trial\.evaluate_every must be below steps \(100\) for the plane of a path, .* three points, got 100",
        ),
        (
            {"around": "trained"},
            {"steps": 1_000_000, "evaluate_every": 1},
            r"trial\.evaluate_every must be larger .* points of 190 weights than memory should hold \(706,409\), got 1",
        ),
    ):
        task = Landscape(directions="path", **fields)
        with pytest.raises(ConfigError, match=message):
            task.check(Trial(task=task, **changes), small_dataset)
    ray = Landscape(directions="path", around="trained", dimensions=1)
    ray.check(Trial(task=ray, steps=100), small_dataset)
    with pytest.raises(ConfigError, match=r"model=convnet must be given images"):
        Landscape().check(Trial(task=Landscape(), model=ConvNet()), small_dataset)


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
    trial = {"model": SMALL_MODELS[model], "regularization": 1.0}
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


def test_trials_of_a_group_each_get_their_own(small_dataset):
    trials = [Trial(task=Landscape(resolution=4, dimensions=d), loss=Svm(margin=d)) for d in (1, 2)]
    together = list(Landscape().run(trials, small_dataset, threads=1))

    for place, trial in enumerate(trials):
        (alone,) = trial.task.run([trial], small_dataset, threads=1)
        assert together[place].trial == place
        np.testing.assert_array_equal(together[place].arrays["data_loss"], alone.arrays["data_loss"])


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
    trained = Landscape(around="trained")
    with pytest.raises(ConfigError, match=r"batch_size must be at most the 2150"):
        trained.check(Trial(task=trained, batch_size=3000), small_dataset)
    trained.check(dataclasses.replace(Trial(task=trained), batch_size=None), small_dataset)
