"""The plane of a path: where training was, on the two directions in which it went the furthest."""

import re

import numpy as np
import pytest

from tasks.errors import ConfigError
from tasks.events import Outcome
from tasks.fused.problem import Problem
from tasks.losses import LOSSES
from tasks.models import ConvNet
from tasks.strategies import STRATEGIES
from tasks.studies.landscape import Landscape
from tasks.trial import Trial
from tasks.weight_space.directions import main_directions, plane_of_path
from tests.tasks.landscapes import initial_scale, landscape, trained
from tests.tasks.rows_of_models import SMALL_MODELS


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
    told = " and ".join(f"{100 * share:.1f} %" for share in shares)
    assert f"{told} of the variance of the path's 6 points" in result.message


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
    assert re.fullmatch(r"the direction has \d+\.\d % of the variance of the path's 11 points", ray.message)
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
    # and a path that ends on the other side, wherever it was meanwhile, goes in the opposite direction
    back, _ = main_directions(np.outer([0, 2, -3], along) + 7, 1)
    np.testing.assert_allclose(back[0], -along, atol=1e-12)


def test_a_path_that_goes_nowhere_has_a_plane_all_the_same():
    plane = plane_of_path(np.ones((4, 6)), 2, extent=2.0, resolution=5)
    np.testing.assert_array_equal(plane.shares, [0, 0])
    np.testing.assert_array_equal(plane.axes, [[-2, -1, 0, 1, 2]] * 2)
    # and one that is straight is seen with room beside it
    straight = plane_of_path(np.outer(np.arange(4.0), [0, 3, 4]), 2, extent=2.0, resolution=3)
    np.testing.assert_allclose(straight.axes[0], [-22.5, -7.5, 7.5])
    assert straight.axes[1][-1] - straight.axes[1][0] == pytest.approx(0.75 * 30)


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
    ray.check(Trial(task=ray, steps=1_000_000, evaluate_every=2), small_dataset)
    with pytest.raises(ConfigError, match=r"model=convnet must be given images"):
        Landscape().check(Trial(task=Landscape(), model=ConvNet()), small_dataset)
