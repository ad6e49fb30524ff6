"""The figures of a training: curves whatever happened, and images where the data are images."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from pipeline.figures import draw, draw_quickly
from pipeline.figures.training import _data_gradient, is_image
from pipeline.recorder.protocol import Series
from tasks.datasets.dataset import Split, make_dataset
from tasks.events import Outcome, Result
from tasks.gradient_check import GradientCheck


def ended(weights, outcome=Outcome.COMPLETE):
    metrics = {"test/accuracy": 0.5}
    return Result(trial=0, outcome=outcome, step=30, metrics=metrics, arrays={"weights": weights})


@pytest.fixture
def curves():
    steps = np.array([10, 20, 30])
    names = ("train/loss", "train/data_loss", "val/loss", "train/accuracy", "val/accuracy")
    return {name: Series(steps=steps, values=np.array([9.0, 1.0, 0.5])) for name in names}


def test_images_have_templates_and_gradients_beside_the_curves(trial, tiny, curves):
    weights = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)

    figures = draw(trial(regularization=0.1), ended(weights), curves, tiny)

    assert set(figures) == {"loss.png", "templates.png", "data_gradient.png"}
    for image in figures.values():
        assert Image.open(io.BytesIO(image)).width == 900
    assert set(draw_quickly(trial(), ended(weights), curves)) == {"loss.png"}


def test_a_figure_is_the_same_bytes_again(trial, tiny, curves):
    planned, weights = trial(), np.ones((2, 5), dtype=np.float32)

    assert draw(planned, ended(weights), curves, tiny) == draw(planned, ended(weights), curves, tiny)


def test_what_diverged_has_its_curves_only(trial, tiny, curves):
    curves["train/loss"] = Series(steps=np.array([10, 20]), values=np.array([1.0, np.inf]))

    assert set(draw(trial(), ended(np.full((2, 5), np.nan), Outcome.DIVERGED), curves, tiny)) == {"loss.png"}


def test_data_that_are_no_images_have_no_templates(trial, tiny, curves):
    flat = dataclasses.replace(tiny, image_shape=(4,))

    assert set(draw(trial(), ended(np.ones((2, 5))), curves, flat)) == {"loss.png"}
    assert [is_image(shape) for shape in ((8, 8), (1, 8, 8), (3, 8, 8), (2, 8, 8), (1, 64), (64,))] == [
        *[True] * 3,
        *[False] * 3,
    ]


def test_the_data_gradient_is_the_slope_of_the_loss(trial):
    # given an example of class 1 that is taken for class 0 by (2 + 1) - (0) + the margin of 1
    weights = {"weights": np.array([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])}
    split = Split(images=np.array([[1, 0]], dtype=np.uint8), labels=np.array([1]))
    dataset = make_dataset(name="d", train=split, test=split, classes=("a", "b"), image_shape=(2,), validation=0)
    centred = dataclasses.replace(dataset, mean=np.zeros(2))

    gradient, losses, predicted = _data_gradient(trial(), weights, split, centred)

    assert (losses.tolist(), predicted.tolist()) == ([4.0], [0])
    assert gradient.tolist() == [[2.0, -3.0]]  # the wrong class's template minus the right one's


@pytest.mark.parametrize("variable", ["weights", "data"])
def test_a_gradient_check_is_drawn(trial, tiny, variable):
    planned = trial(task={"name": "gradient_check", "variable": variable, "examples": 4})
    (result,) = GradientCheck(variable=variable, examples=4).run([planned.trial], tiny, threads=1)

    (image,) = draw(planned, dataclasses.replace(result, outcome=Outcome.FAILED), {}, tiny).values()

    assert Image.open(io.BytesIO(image)).size == (900, 600)
