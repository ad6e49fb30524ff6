import dataclasses
import io
import itertools

import matplotlib.image
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from pipeline.figures.trial import draw
from pipeline.figures.trials import caption_of_trial
from tasks.datasets.synthetic import Synthetic
from tasks.events import Outcome, Result

TASKS = {
    "curve": ({"name": "landscape", "dimensions": 1, "examples": 1}, "landscape.png"),
    "map": ({"name": "landscape", "resolution": 21}, "landscape.png"),
    "terms": ({"name": "one_dimensional"}, "one_dimensional.png"),
    "steps": ({"name": "step_size"}, "step_size.png"),
    "check": ({"name": "gradient_check", "examples": 10}, "gradient_check.png"),
    "differences": ({"name": "finite_difference", "per_decade": 2}, "finite_difference.png"),
}


@pytest.fixture(scope="module")
def dataset():
    return Synthetic(examples=300, test_examples=10, features=12, classes=3, validation=10).load()


def computed(planned, dataset):
    with threadpool_limits(1, user_api="blas"):
        *_, result = planned.trial.task.run([planned.trial], dataset, threads=1)
    return result


def drawn(planned, dataset):
    return draw(planned, computed(planned, dataset), {}, dataset)


def pixels(content):
    return matplotlib.image.imread(io.BytesIO(content), format="png")


@pytest.mark.parametrize("regularization", [0.0, 0.1])
@pytest.mark.parametrize(("task", "name"), TASKS.values(), ids=TASKS)
def test_every_figure_is_a_picture_of_the_same_size_and_bytes(trial, dataset, task, name, regularization):
    planned = trial(task=task, regularization=regularization)
    result = computed(planned, dataset)
    (first,), (again,) = (draw(planned, result, {}, dataset).items() for _ in range(2))

    assert first[0] == name
    assert pixels(first[1]).shape == (600, 900, 4)
    assert first[1] == again[1]


def test_the_check_of_a_network_shows_its_layers(trial, dataset):
    network = {"name": "mlp", "hidden": [6]}
    # given the check of a network, and the same one without what says which coordinates are of which layer
    planned = trial(task={"name": "gradient_check", "examples": 10}, model=network)
    result = computed(planned, dataset)
    arrays = {name: array for name, array in result.arrays.items() if not name.startswith("coordinates/")}
    results = [result, dataclasses.replace(result, arrays=arrays)]
    layers, flat = (pixels(draw(planned, each, {}, dataset)["gradient_check.png"]) for each in results)
    # then the scatter plot has other colours, and the histogram is the same
    differ = (layers != flat).any(axis=-1)
    assert differ[:, :450].sum() > 500
    assert not differ[:, 500:].any()


def test_layers_for_which_there_are_too_few_colours_are_drawn_as_one(trial, dataset, figures):
    model = {"name": "mlp", "hidden": [6] * 20}  # a row of the legend each would be higher than the panel
    drawn(trial(task={"name": "gradient_check", "examples": 10}, model=model), dataset)

    axes = figures[0].axes[0]
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names[0] == "coordinates without a kink"
    assert not any("hidden" in name for name in names)
    assert axes.get_legend().get_window_extent().height < axes.bbox.height / 4


def test_gradients_that_are_all_zero_are_told(trial, dataset, figures):
    # given a network whose units are all dead
    dead = {"name": "gradient_check", "examples": 10, "scale": 1e-200, "variable": "data"}
    drawn(trial(task=dead, model={"name": "mlp", "hidden": [6]}), dataset)

    (said,) = figures[0].axes[0].texts
    assert said.get_text() == "no coordinate at which\nboth are other than 0"


def test_the_legend_of_a_check_hides_no_coordinate(trial, dataset, figures):
    model = {"name": "mlp", "hidden": [6, 6, 6, 6]}  # a row of the legend each
    drawn(trial(task={"name": "gradient_check", "examples": 10}, model=model), dataset)

    axes = figures[0].axes[0]
    box = axes.get_legend().get_window_extent()
    for line in axes.lines:
        shown = axes.transData.transform(np.column_stack(line.get_data()))
        assert not ((shown > box.min) & (shown < box.max)).all(axis=1).any(), line.get_label()


@pytest.mark.parametrize("count", [2, 3, 4, 7, 10])
def test_the_legends_of_terms_hide_no_line(trial, dataset, figures, count):
    points, weights = np.linspace(-1.0, 2.0, count).tolist(), np.linspace(1.0, -1.0, count).tolist()
    drawn(trial(task={"name": "one_dimensional", "points": points, "weights": weights}), dataset)

    for axes in figures[0].axes:
        box = axes.get_legend().get_window_extent()
        assert axes.bbox.x0 < box.x0 < box.x1 < axes.bbox.x1 + 5
        assert max(axes.transData.transform((0, line.get_ydata().max()))[1] for line in axes.lines) < box.y0


def test_the_numbers_of_a_colour_bar_have_no_offset(trial, dataset, figures):
    planned = trial(task={"name": "landscape"})
    a = np.linspace(-5, 5, 11)
    arrays = {
        "a": a,
        "b": a,
        "data_loss": 9 + 1e-6 * (a[:, None] ** 2 + a**2),
        "regularization_loss": np.zeros((11, 11)),
    }
    draw(planned, Result(trial=0, outcome=Outcome.COMPLETE, step=0, metrics={}, arrays=arrays), {}, dataset)

    _, bar = figures[0].axes
    assert bar.yaxis.get_offset_text().get_text() == ""


@pytest.mark.parametrize(("lowest", "said"), [(-15, "no digit is right up to h = 1e-05"), (-4, "")])
def test_it_is_said_up_to_which_h_no_digit_of_a_derivative_is_right(trial, dataset, figures, lowest, said):
    planned = trial(task={"name": "finite_difference", "lowest": lowest, "per_decade": 1}, loss={"name": "softmax"})
    drawn(planned, dataset)

    texts = [text.get_text() for text in figures[0].axes[0].texts]
    assert [text for text in texts if "digit" in text] == [said] * bool(said)


@pytest.mark.parametrize("found", [True, False])
def test_the_legends_of_finite_differences_stay_in_the_figure_and_apart(trial, dataset, figures, found):
    # given slopes, and none, as of a network with kinks
    planned = trial(task={"name": "finite_difference"}, loss={"name": "softmax"})
    result = computed(planned, dataset)
    slopes = result.arrays["slopes"] if found else np.full((2, 2), np.nan)
    draw(planned, dataclasses.replace(result, arrays={**result.arrays, "slopes": slopes}), {}, dataset)

    left, right = figures[0].axes
    first, second = (axes.get_legend().get_window_extent() for axes in (left, right))
    assert left.bbox.x0 < first.x0 < first.x1 < right.yaxis.get_tightbbox().x0
    assert second.x1 < figures[0].bbox.x1


@pytest.mark.parametrize("extent", [0.5, 1.0, 25.0, 0.001])
def test_the_ticks_of_a_map_do_not_touch(trial, dataset, figures, extent):
    drawn(trial(task={"name": "landscape", "resolution": 9, "extent": extent}), dataset)

    boxes = [text.get_window_extent() for text in figures[0].axes[0].get_xticklabels() if text.get_text()]
    inside = [box for box in boxes if box.width > 0]
    assert all(left.x1 + 5 < right.x0 for left, right in itertools.pairwise(inside))


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("model", [{"name": "linear"}, {"name": "mlp", "hidden": [4]}])
def test_the_path_of_a_training_is_drawn(trial, dataset, model, dimensions):
    # given the same land with a path and without
    task = {"name": "landscape", "around": "trained", "directions": "path", "resolution": 9, "dimensions": dimensions}
    planned = trial(task=task, model=model, steps=20, batch_size=32, trial={"evaluate_every": 5})
    result = computed(planned, dataset)
    nowhere = {"path": np.zeros((1, dimensions)), "path_steps": np.zeros(1, dtype=int)}
    results = [dataclasses.replace(result, arrays={**result.arrays, **changed}) for changed in ({}, nowhere)]
    path, point = (pixels(draw(planned, each, {}, dataset)["landscape.png"]) for each in results)
    assert (path != point).any(axis=-1).sum() > 500


def test_the_points_of_a_path_do_not_hide_each_other(trial, dataset, figures):
    planned = trial(task={"name": "landscape", "around": "trained", "resolution": 9})
    path = np.column_stack([np.linspace(-4, -2, 40), np.zeros(40)])  # dots that overlap
    arrays = computed(planned, dataset).arrays | {"path": path, "path_steps": np.arange(40)}

    draw(planned, Result(trial=0, outcome=Outcome.COMPLETE, step=0, metrics={}, arrays=arrays), {}, dataset)

    image = np.asarray(figures[0].canvas.buffer_rgba())
    x, y = figures[0].axes[0].transData.transform(path).round().astype(int).T
    assert image[len(image) - y, x, :3].max() < 100, "dark as the legend says"


def test_the_points_of_a_path_on_a_curve_have_no_lines_between_them_that_leave_it(trial, dataset, figures):
    task = {"name": "landscape", "around": "trained", "directions": "path", "resolution": 9, "dimensions": 1}

    drawn(trial(task=task, steps=20, batch_size=32, trial={"evaluate_every": 5}), dataset)

    (path,) = (line for line in figures[0].axes[0].lines if "path" in line.get_label())
    assert (path.get_linestyle(), path.get_marker()) == ("None", ".")


def test_the_names_of_the_axes_of_a_map_do_not_run_over_its_title(trial, dataset, figures):
    # given the longest names, those with the shares of a path's variance and with regularization
    task = {"name": "landscape", "around": "trained", "directions": "path", "resolution": 9}

    drawn(trial(task=task, regularization=0.1, steps=20, batch_size=32, trial={"evaluate_every": 5}), dataset)

    title = figures[0].texts[0].get_window_extent()
    names = [axis.label for axes in figures[0].axes for axis in (axes.xaxis, axes.yaxis) if axis.label.get_text()]
    assert len(names) == 3
    assert not any(name.get_window_extent().overlaps(title) for name in names)


@pytest.mark.parametrize("corner", [50.0, np.inf, np.nan])
def test_low_is_blue_and_high_is_red(trial, dataset, corner):
    # Given a bowl with its bottom in the middle, and a corner where the loss may overflow.
    planned = trial(task={"name": "landscape"})
    a = np.linspace(-5, 5, 101)
    bowl = a[:, None] ** 2 + a**2
    bowl[0, 0] = corner
    arrays = {"a": a, "b": a, "data_loss": bowl, "regularization_loss": np.zeros_like(bowl)}
    result = Result(trial=0, outcome=Outcome.COMPLETE, step=0, metrics={}, arrays=arrays)

    image = pixels(draw(planned, result, {}, dataset)["landscape.png"])
    red, _, blue = np.moveaxis(image[:, :600, :3], -1, 0)
    strong_blue, strong_red = (blue - red > 0.4), (red - blue > 0.4)

    middle = np.argwhere(strong_blue).mean(axis=0)
    spread_blue, spread_red = (np.abs(np.argwhere(m) - middle).max(axis=1).mean() for m in (strong_blue, strong_red))
    assert strong_red.sum() > 1000
    assert spread_blue < spread_red


def test_a_map_is_in_the_middle_of_its_figure(trial, dataset):
    image = pixels(drawn(trial(task=TASKS["map"][0]), dataset)["landscape.png"])

    inked = np.flatnonzero((image[100:400, :, :3] < 1).any(axis=(0, 2)))
    left, right = inked[0], image.shape[1] - 1 - inked[-1]
    assert abs(left - right) < 5


def test_no_slope_and_no_overshoot_are_drawn_too(trial, dataset):
    svm = trial(task={"name": "finite_difference", "lowest": -15, "highest": -12, "per_decade": 1})
    short = trial(task={"name": "step_size", "highest": -9})
    fitted = trial(task={"name": "step_size", "highest": 3, "examples": 1})
    far = {"task": {"name": "finite_difference", "lowest": -6, "highest": 10}, "loss": {"name": "squared_hinge"}}
    landscape = {"name": "landscape", "resolution": 5, "extent": 1e37, "direction_scale": 10}
    overflowing = [
        *(trial(task={**landscape, "dimensions": count}, regularization=0.1) for count in (1, 2)),
        trial(**far, model={"name": "mlp", "hidden": [6]}),
        trial(task={"name": "step_size", "highest": 100}, model={"name": "mlp", "hidden": [20, 20, 20, 20]}),
    ]

    assert all(drawn(planned, dataset) for planned in overflowing), "no axis ends at infinity"
    assert drawn(svm, dataset)
    assert drawn(short, dataset)
    assert drawn(fitted, dataset), "a loss of 0 has no logarithm"


def test_what_did_not_complete_has_no_figure(trial, dataset):
    planned = trial(task={"name": "landscape"})
    result = Result(trial=0, outcome=Outcome.DIVERGED, step=3, metrics={})

    assert draw(planned, result, {}, dataset) == {}


def test_the_caption_says_what_was_computed(trial):
    task = {"name": "step_size", "examples": 7}

    text = caption_of_trial(trial(task=task, loss={"name": "softmax"}, regularization=0.5, seed=9))

    assert text.startswith("dataset=digits · task=step_size · task.lowest=-10")
    assert {"loss=softmax", "regularizer=l2", "task.examples=7", "regularization=0.5", "seed=9"} <= {*text.split(" · ")}


def test_the_caption_says_how_the_features_were_scaled(trial):
    text = caption_of_trial(trial(dataset={"name": "digits", "scaling": "standard"}))

    assert text.startswith("dataset=digits · dataset.scaling=standard · model=")
