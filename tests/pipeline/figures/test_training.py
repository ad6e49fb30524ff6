"""The figures of a training: curves whatever happened, and images where the data are images."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from pipeline.figures.data_gradient import data_gradient
from pipeline.figures.filters import draw_filters
from pipeline.figures.pictures import is_image, write_above
from pipeline.figures.style import sheet
from pipeline.figures.trial import draw, draw_quickly
from pipeline.results.curves import Series
from tasks.datasets.dataset import Split, make_dataset
from tasks.events import Outcome, Result


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


@pytest.mark.parametrize("most", [0.0002, 26_000.0, 200_000.0])
def test_the_numbers_of_an_axis_leave_room_for_its_label(trial, curves, figures, most):
    curves |= {name: Series(steps=one.steps, values=one.values * most / 9) for name, one in curves.items()}

    draw_quickly(trial(), ended(np.ones((2, 5), dtype=np.float32)), curves)

    left, right = figures[0].axes
    assert left.yaxis.label.get_window_extent().x0 > 0
    assert right.yaxis.label.get_window_extent().x0 > left.get_window_extent().x1


@pytest.mark.parametrize("name", ["cat", "taken for automobile", "a-green-woodpecker-on-a-tree-in-autumn"])
def test_the_name_of_a_class_is_no_wider_than_its_picture(name):
    # given the sheet of five pictures in a row, of which each has a fifth of the 900 pixels
    _, axes = sheet(title="Learned templates", height=6)

    write_above(axes, (0, 0), f"{name}\nloss 1", letters=11)

    (written,) = axes.texts
    assert written.get_window_extent().width < 180
    assert (written.get_fontsize() < 11) == (len(name) > 20)


@pytest.fixture
def panels(trial, figures):
    """Return what draws curves, and returns the panels."""

    def draw_panels(curves):
        draw_quickly(trial(), ended(np.ones((2, 5))), curves)
        return figures[0].axes

    return draw_panels


def test_a_legend_hides_no_curve(trial, figures):
    # given a training whose losses and accuracies go up and down all over their panels
    steps = np.arange(10, 1010, 10)
    curves = {
        f"{part}/{name}": Series(steps=steps, values=0.5 + sign * np.sin(steps))
        for part, sign in (("train", 0.4), ("val", -0.4))
        for name in ("loss", "data_loss", "accuracy")
    }

    draw_quickly(trial(regularization=0.1), ended(np.ones((2, 5))), curves)

    (figure,) = figures
    below = figure.legends[0].get_window_extent()
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["training", "training, data loss", "validation", "test: 50.0 %"]
    assert figure.texts[-1].get_window_extent().y1 < below.y0
    for axes in figure.axes:
        assert axes.get_legend() is None
        assert below.y1 < axes.xaxis.label.get_window_extent().y0


@pytest.mark.parametrize("lowest", [0.11, 1.05, 5.5, 120.0])
def test_an_axis_of_losses_has_two_numbers_at_least(panels, lowest):
    # given losses that span a factor of nine, between which there may be no power of ten
    losses = {"train/loss": Series(steps=np.array([10, 20]), values=np.array([9 * lowest, lowest]))}

    axes = panels(losses)[0]

    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    ticks = [*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
    numbers = [tick.label1.get_text() for tick in ticks if low <= tick.get_loc() <= high and tick.label1.get_text()]
    assert len(numbers) >= 2
    assert len({number.startswith("$") for number in numbers}) == 1  # all are powers of ten as such, or none is


def test_what_diverged_has_its_curves_only(trial, tiny, curves):
    curves["train/loss"] = Series(steps=np.array([10, 20]), values=np.array([1.0, np.inf]))

    assert set(draw(trial(), ended(np.full((2, 5), np.nan), Outcome.DIVERGED), curves, tiny)) == {"loss.png"}


def test_what_has_no_finite_loss_has_no_panel_without_a_curve(trial, curves):
    curves["train/loss"] = Series(steps=np.array([2]), values=np.array([np.inf]))

    assert draw_quickly(trial(), ended(np.full((2, 5), np.nan), Outcome.DIVERGED), curves) == {}


def test_a_trial_that_ended_before_its_first_accuracy_has_its_loss(trial, curves):
    # given a lone trial, which is drawn in the process that prints warnings
    lost = dataclasses.replace(ended(np.ones((2, 5)), Outcome.DIVERGED), metrics={})

    assert set(draw_quickly(trial(), lost, {"train/loss": curves["train/loss"]})) == {"loss.png"}


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

    shown = data_gradient(trial().trial, weights, split, centred)

    assert (shown.losses.tolist(), shown.predicted.tolist()) == ([4.0], [0])
    assert shown.gradient.tolist() == [[2.0, -3.0]]  # the wrong class's template minus the right one's


def test_a_data_gradient_of_0_is_told(trial, tiny, curves, figures):
    # given weights with which no pixel changes a score, as where all units are dead
    draw(trial(), ended(np.zeros((2, 5), dtype=np.float32)), curves, tiny)

    (sheet,) = (figure for figure in figures if "lowers each loss" in figure.texts[0].get_text())
    said = [text.get_text() for text in sheet.axes[0].texts if "loss" in text.get_text()]
    assert said
    assert all(text.endswith("loss 1, gradient 0") for text in said)


def test_where_no_example_has_a_loss_there_is_no_data_gradient_and_all_else(trial, tiny, curves):
    # given a bias that is far above every margin, and examples of its class alone
    weights = np.zeros((2, 5), dtype=np.float32)
    weights[0, -1] = 1e3
    first = Split(images=tiny.train.images, labels=np.zeros_like(tiny.train.labels))
    dataset = dataclasses.replace(tiny, train=first, validation=first, test=first)

    assert not len(data_gradient(trial().trial, {"weights": weights}, first, dataset).places)
    assert set(draw(trial(), ended(weights), curves, dataset)) == {"loss.png", "templates.png"}


def images(count, image_shape):
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 256, (count, int(np.prod(image_shape))), dtype=np.uint8)
    split = Split(images=raw, labels=np.arange(count) % 3)
    return make_dataset(
        name="d", train=split, test=split, classes=("a", "b", "c"), image_shape=image_shape, validation=0
    )


def drawn_weights(planned, dataset):
    shapes = planned.trial.model.shapes(dataset.image_shape, len(dataset.classes))
    rng = np.random.default_rng(1)
    return {name: rng.normal(scale=0.1, size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(("model", "image_shape"), [("mlp", (5, 4)), ("convnet", (3, 8, 8))])
def test_networks_have_first_filters_and_gradients(trial, curves, model, image_shape):
    planned = trial(model={"name": model}, dataset={"name": "synthetic"})
    dataset = images(20, image_shape)
    result = dataclasses.replace(ended(None), arrays=drawn_weights(planned, dataset))

    figures = draw(planned, result, curves, dataset)

    assert set(figures) == {"loss.png", "filters.png", "data_gradient.png"}
    for image in figures.values():
        assert Image.open(io.BytesIO(image)).width == 900


def test_the_filters_with_the_largest_norms_are_shown_of_many(trial):
    # given 60 hidden units, the last ten smaller than the others
    planned, dataset = trial(model={"name": "mlp", "hidden": [60]}), images(6, (3, 3))
    arrays = drawn_weights(planned, dataset)
    arrays["hidden1"][50:] *= 1e-3
    shown = draw_filters(planned, arrays, dataset)
    # when one of the small ones changes nothing is seen of it, of a large one it is
    arrays["hidden1"][55, 2] *= -1
    assert draw_filters(planned, arrays, dataset) == shown
    arrays["hidden1"][5, 2] *= -1
    assert draw_filters(planned, arrays, dataset) != shown


def test_the_data_gradient_of_a_network_is_the_slope_of_the_loss(trial):
    # given a network and examples in more blocks than one
    planned, dataset = trial(model={"name": "convnet", "channels": [3]}, loss={"name": "softmax"}), images(40, (4, 4))
    arrays = drawn_weights(planned, dataset)
    shown = data_gradient(planned.trial, arrays, dataset.test, dataset)
    assert dataset.test.labels[shown.places].tolist() == [0, 1, 2]
    # when a pixel of the first shown example is one brighter
    brighter = dataset.test.images[shown.places].copy()
    before = data_gradient(planned.trial, arrays, Split(images=brighter, labels=np.arange(3)), dataset).losses
    brighter[0, 5] += 1
    after = data_gradient(planned.trial, arrays, Split(images=brighter, labels=np.arange(3)), dataset).losses
    # then its loss changes by the gradient there, and no other does
    np.testing.assert_allclose(after - before, [shown.gradient[0, 5], 0, 0], rtol=0.05, atol=1e-9)
    np.testing.assert_array_equal(before, shown.losses)


@pytest.mark.parametrize("variable", ["weights", "data"])
def test_a_gradient_check_is_drawn(trial, tiny, variable):
    planned = trial(task={"name": "gradient_check", "variable": variable, "examples": 4})
    (result,) = planned.trial.task.run([planned.trial], tiny, threads=1)

    (image,) = draw(planned, dataclasses.replace(result, outcome=Outcome.FAILED), {}, tiny).values()

    assert Image.open(io.BytesIO(image)).size == (900, 600)
