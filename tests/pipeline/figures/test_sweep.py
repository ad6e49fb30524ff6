"""The figures of a sweep are drawn for whatever its trials have, and show what they say."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.figures.drawings import SWEEP_FIGURES
from pipeline.figures.extremes import draw_extremes
from pipeline.figures.heat_maps import draw_heat_maps
from pipeline.figures.metrics import draw_metrics
from pipeline.figures.parallel_coordinates import draw_parallel_coordinates
from pipeline.figures.slices import draw_slices
from pipeline.figures.sweep import FIGURES, draw_sweep
from pipeline.figures.training import draw_curves
from pipeline.figures.trials import by_kind, models
from pipeline.results.criterion import Criterion
from pipeline.results.curves import Series, TrialRecord
from pipeline.results.standing import Standing
from tasks.events import Outcome, Result
from tests.pipeline.figures.rows import rows


def drawn(trials):
    """Return all figures of a sweep."""
    return {name: image for figure in SWEEP_FIGURES for name, image in draw_sweep(figure, trials).items()}


def test_a_sweep_over_strategies_rates_and_sizes_has_every_figure(record):
    random, local, gradient = rows("random", "local", "gradient")
    trials = [record(0.9 - k / 10, **gradient, learning_rate=rate) for k, rate in enumerate((0.1, 0.01))]
    trials += [record(0.4, **local, batch_size=None), record(0.1, **random), record(0.5, Outcome.DIVERGED, **gradient)]

    figures = drawn(trials)

    assert figures.keys() == FIGURES.keys()
    assert set(figures) == {"accuracy.png", "best_loss.png", "best_and_worst.png", "parallel_coordinates.png"}
    for image in figures.values():
        assert Image.open(io.BytesIO(image)).size == (900, 600)


def test_models_that_are_swept_are_told_apart(record):
    linear, mlp = ({"model": {"name": name}} for name in ("linear", "mlp"))
    random, gradient = rows("random", "gradient")
    both = [record(0.5, **gradient), record(0.2, **random)]

    assert list(by_kind(both)) == ["gradient", "random"]
    assert list(by_kind([record(0.5, **linear), record(0.6, **mlp)])) == ["linear", "mlp"]
    assert [list(by_kind([record(0.5, **linear)])), models(both)] == [["gradient"], {"linear"}]
    every = [record(0.5, **model, **strategy) for model in (mlp, linear) for strategy in (gradient, random)]
    kinds = by_kind(every)
    assert list(kinds) == ["linear gradient", "linear random", "mlp gradient", "mlp random"]
    assert kinds["mlp random"] == [every[1]]
    assert drawn([*every, record(0.4, **mlp, learning_rate=0.5)]).keys() == FIGURES.keys()


@pytest.mark.parametrize("words", [1, 60])
@pytest.mark.parametrize(
    "name",
    [
        "sgd",
        "gradient softmax adam lr=0.001 batch=64",
        "prompt=" + "word " * 50,
        "gradient adam lr=0.0001 batch=64",
        "MW" * 50,
    ],
)
def test_the_titles_of_the_best_and_the_worst_do_not_touch_what_is_around_them(record, figures, name, words):
    # given titles of two and three lines, and captions of two and of many lines
    trials = [record(0.5, learning_rate=rate) for rate in (1.0, 2.0)]
    trials[0].standing.trial.config["dataset"]["name"] = "long " * words
    for trial in trials:
        object.__setattr__(trial.standing.trial, "name", name)

    draw_extremes(trials)

    (figure,) = figures
    caption = figure.texts[-1].get_window_extent()
    for axes in figure.axes:
        title, panel = axes.title.get_window_extent(), axes.get_window_extent()
        assert title.y1 + 3 < figure.texts[0].get_window_extent().y0
        assert panel.y1 < title.y0 < panel.y1 + 15
        assert 0 <= title.x0 < title.x1 <= 900
        assert caption.y1 + 3 < axes.xaxis.label.get_window_extent().y0
        assert panel.height > 200
        assert axes.get_legend() is None, "it would cover a curve that goes up and down"


def test_validation_is_said_to_have_the_data_loss_alone_where_training_has_another(record, figures):

    draw_extremes([record(0.5, regularization=value) for value in (0.0, 0.1)])

    assert [axes.get_ylabel() for axes in figures[0].axes] == ["loss", "loss (validation: data loss)"]


def test_losses_of_one_point_are_told_apart_and_their_axis_has_no_offset(record, figures):
    # given the first evaluation of trials that were stopped there, with losses that are alike
    trials = [record(0.5, learning_rate=rate) for rate in (1.0, 2.0)]
    for trial in trials:
        for name, loss in (("train/loss", 1.00123), ("val/loss", 1.00124)):
            trial.curves[name] = Series(steps=np.array([10]), values=np.array([loss]))

    draw_extremes(trials)

    (figure,) = figures
    for axes in figure.axes:
        assert [line.get_marker() for line in axes.lines[:2]] == ["o", "s"]
        assert axes.yaxis.get_offset_text().get_text() == ""
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training", "validation"]
    assert [line.get_marker() for line in figure.legends[0].get_lines()] == ["o", "s"]


def test_the_label_of_the_worst_does_not_reach_into_the_panel_of_the_best(record, figures):
    trials = [record(0.5, learning_rate=rate) for rate in (1.0, 2.0)]
    for name in ("train/loss", "val/loss"):
        steps = trials[1].curves[name].steps
        trials[1].curves[name] = Series(steps=steps, values=np.geomspace(240_000, 14_000, len(steps)))

    draw_extremes(trials)

    best, worst = figures[0].axes
    assert worst.yaxis.label.get_window_extent().x0 > best.get_window_extent().x1


def test_steps_are_whole_numbers_beside_a_single_point_too(record, figures):
    trials = [record(0.5, learning_rate=rate) for rate in (1.0, 2.0)]
    for trial in trials:
        trial.curves["train/loss"] = Series(steps=np.array([10]), values=np.array([2.0]))
        del trial.curves["val/loss"]

    draw_extremes(trials)

    ticks = figures[0].axes[1].get_xticks()
    assert 10 in ticks
    assert ticks.tolist() == [round(tick) for tick in ticks]


def test_a_legend_below_the_panels_touches_neither_them_nor_the_caption(record, figures):
    names = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam")
    losses = ("svm", "softmax", "squared_hinge")
    choices = [{"optimizer": {"name": one}, "loss": {"name": loss}} for one in names for loss in losses]

    draw_slices([record(0.5, **row, learning_rate=rate) for row in choices for rate in (0.1, 0.2)])

    (figure,) = figures
    (axes,) = figure.axes
    (below,) = figure.legends
    assert len(below.get_texts()) == 18
    box = below.get_window_extent()
    assert figure.texts[-1].get_window_extent().y1 < box.y0
    assert box.y1 < axes.xaxis.label.get_window_extent().y0
    assert 0 < box.x0 < box.x1 < 900


def test_one_trial_is_no_sweep_to_draw(record):
    assert drawn([record(0.5)]) == {}
    assert drawn([]) == {}


def test_trials_without_a_point_are_left_out(record, trial):
    waiting = TrialRecord(standing=Standing(trial=trial("waiting", learning_rate=9.0)), curves={})

    assert "accuracy.png" in drawn([record(0.5, learning_rate=1.0), record(0.4, learning_rate=2.0), waiting])
    assert drawn([record(0.5, learning_rate=1.0), waiting]) == {}


@pytest.mark.parametrize("draw", [draw_heat_maps, draw_parallel_coordinates])
@pytest.mark.parametrize(("metric", "value"), [("val/accuracy", 1.0), ("val/accuracy", 0.9686), ("examples", 5e7)])
def test_the_colours_of_scores_that_are_all_equal_have_readable_numbers(record, figures, draw, metric, value):
    trials = [record(0.5, learning_rate=rate, batch_size=size) for rate in (0.1, 0.01) for size in (16, 32)]
    for trial in trials:
        trial.standing.criterion, trial.standing.metrics = Criterion(metric=metric, mode="max"), {metric: value}

    draw(trials)

    axis = figures[0].axes[-1].yaxis
    assert axis.get_view_interval()[1] == (100 * value if metric == "val/accuracy" else value)
    assert "+" not in axis.get_offset_text().get_text()  # as in 1e-8+9.6864e1


def test_one_trial_that_nearly_diverged_does_not_give_the_others_one_colour_and_one_that_did_is_not_the_best(
    record, figures
):
    # given losses of which one is far above the others, and a trial without one
    trials = [record(0.5, learning_rate=rate, batch_size=size) for rate in (0.1, 0.01) for size in (16, 32)]
    trials += [record(0.5, Outcome.DIVERGED, learning_rate=1.0), record(0.5, learning_rate=1.0, batch_size=32)]
    for trial, loss in zip(trials, (0.1, 0.2, 0.4, 0.8, np.inf, 1e5), strict=True):
        trial.standing.criterion = Criterion(metric="val/loss", mode="min")
        trial.standing.metrics = {"val/loss": loss}

    draw_heat_maps(trials)
    draw_parallel_coordinates(trials)

    heat_map, (coordinates, _) = figures[0].axes[0], figures[1].axes
    colours = heat_map.collections[0].to_rgba(np.array([0.1, 0.8]))
    assert np.abs(colours[0] - colours[1]).max() > 0.1
    ends = [line[-1, 1] for line in coordinates.collections[0].get_segments()]  # the worst first
    assert ends[-1] == 0
    assert ends[1] == 1, "the largest loss"
    assert ends[0] == 1, "what diverged"
    assert ends[2] > 0.1


@pytest.mark.parametrize("name", ["$", "$a$ and $b^", "cost/a\\$b_$c_$"])
def test_names_with_dollars_are_shown_and_are_no_formulas(record, name):
    # given names of which Matplotlib would take a part for a formula, and could not read some
    trials = [record(0.5 + k / 10, learning_rate=0.1**k, batch_size=16 + k) for k in range(3)]
    metric = {name: Series(steps=np.array([50, 100]), values=np.array([0.1, 0.2]))}
    trials[-1].standing.outcome = Outcome.STOPPED
    for k, trial in enumerate(trials):
        object.__setattr__(trial.standing.trial, "name", f"prompt={name} {name}")
        object.__setattr__(trial, "curves", trial.curves | metric)
        trial.standing.criterion, trial.standing.metrics = Criterion(metric=name), {name: float(k)}

    assert drawn(trials).keys() == {*FIGURES, "rungs.png"}
    planned, result = trials[0].standing.trial, Result(trial=0, outcome=Outcome.COMPLETE, step=100, metrics={})
    assert draw_metrics(planned, result, {f"{name}/{name}": metric[name]})


def test_the_losses_of_a_task_of_ones_own_that_span_much_are_on_a_logarithmic_axis(record, figures):
    planned, result = record(0.5).standing.trial, Result(trial=0, outcome=Outcome.COMPLETE, step=2, metrics={})
    curve = Series(steps=np.arange(3), values=np.array([10.0, 0.01, np.nan]))

    draw_metrics(planned, result, {"held_out/accuracy": curve, "train/loss": curve})

    assert [axes.get_yscale() for axes in figures[0].axes] == ["linear", "log"]


def test_every_curve_of_a_panel_is_drawn_and_the_legend_counts_what_is_too_much(record):
    # given curves of as many classes, which differ from the first only in the last one
    steps, planned = np.array([10, 20]), record(0.5).standing.trial
    result = Result(trial=0, outcome=Outcome.COMPLETE, step=20, metrics={})

    def image(count, last):
        values = [0.1, 0.9, *(0.2 + 0.02 * np.arange(count - 3)), last]
        named = {f"{k:02}/recall": Series(steps=steps, values=np.array([0.5, v])) for k, v in enumerate(values)}
        return draw_metrics(planned, result, named)["metrics.png"]

    assert image(8, 0.3) != image(8, 0.8)
    assert image(12, 0.3) != image(12, 0.8)
    assert image(13, 0.3) == image(13, 0.8)
    assert image(13, 0.3) != image(15, 0.3)


@pytest.mark.parametrize("module", ["extremes", "metrics"])
def test_an_accuracy_of_a_task_without_a_loss_is_in_percent(record, figures, module):
    trials = [record(0.5, learning_rate=rate) for rate in (1.0, 2.0)]
    curves = {"val/accuracy": Series(steps=np.array([10, 20]), values=np.array([0.25, 0.5]))}
    for trial in trials:
        object.__setattr__(trial, "curves", curves)

    if module == "extremes":
        draw_extremes(trials)
    else:
        draw_metrics(trials[0].standing.trial, Result(trial=0, outcome=Outcome.COMPLETE, step=20, metrics={}), curves)

    axes = figures[0].axes[0]
    assert axes.get_ylabel().endswith("accuracy / %")
    assert axes.lines[0].get_ydata().tolist() == [25, 50]


def test_long_names_and_values_leave_room_for_the_panels(record):
    # given a name of thousands of characters, as of a trial whose task has a long text among its fields
    trials = [record(0.5 + k / 10, learning_rate=0.1**k, batch_size=16 + k) for k in range(3)]
    trials[0].standing.trial.config["dataset"]["name"] = "long " * 1000
    for trial in trials:
        object.__setattr__(trial.standing.trial, "name", "prompt=" + "word " * 1000)
    planned, result = trials[0].standing.trial, Result(trial=0, outcome=Outcome.COMPLETE, step=100, metrics={})

    figures = drawn(trials) | draw_curves(planned, result, trials[0].curves)

    assert figures.keys() == {*FIGURES, "loss.png"}
    for image in figures.values():
        with Image.open(io.BytesIO(image)) as picture:
            upper = np.asarray(picture.convert("L"))[100:350]
        assert (upper < 250).sum() > 1000, "the upper half holds the panels"


def test_only_what_diverged_is_drawn_too(record):
    trials = [record(0.1, Outcome.DIVERGED, learning_rate=rate) for rate in (1.0, 2.0)]

    assert set(drawn(trials)) == {"best_loss.png", "best_and_worst.png"}


def test_a_message_of_a_trial_is_not_taken_for_that_of_a_mean(record, figures):
    trials = [record(0.5, learning_rate=rate, batch_size=size) for rate in (0.1, 1.0) for size in (8, 9)]
    trials[1].standing.message = "the loss was infinite at step 30"
    means = [TrialRecord(standing=trial.standing, curves=trial.curves, is_mean=True) for trial in trials]

    draw_heat_maps(trials)
    draw_heat_maps(means)

    captions = [figure.texts[-1].get_text().replace("\n", " ") for figure in figures]
    assert ["a mean leaves out repeats that diverged" in caption for caption in captions] == [False, True]
