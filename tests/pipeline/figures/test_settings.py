"""Of repeats the figures show settings: means, bands, intervals, error bars, profiles."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from pipeline.figures.bands import draw_bands
from pipeline.figures.drawings import SWEEP_FIGURES
from pipeline.figures.heat_maps import _side
from pipeline.figures.intervals import draw_intervals
from pipeline.figures.profiles import _ways, draw_profiles
from pipeline.figures.settings import are_repeated, as_means, by_setting, caption_of_settings, mean_curve
from pipeline.figures.slices import draw_slices
from pipeline.figures.sweep import FIGURES, REPEATED, draw_sweep
from pipeline.figures.trials import caption_of, caption_of_draws
from pipeline.results.criterion import Criterion
from pipeline.results.curves import Curves, Series
from pipeline.results.statistics import students, summarize
from tasks.events import Outcome

ADAM, SGD = {"optimizer": {"name": "adam"}}, {"optimizer": {"name": "sgd"}}


@pytest.fixture
def repeats(record):
    """Return a maker of the repeats of a setting with these accuracies."""

    def make(*accuracies, outcome=Outcome.COMPLETE, **values):
        return [record(accuracy, outcome, seed=seed, **values) for seed, accuracy in enumerate(accuracies)]

    return make


def drawn(trials):
    return {name: image for figure in SWEEP_FIGURES for name, image in draw_sweep(figure, trials).items()}


def test_a_sweep_with_repeats_has_the_figures_of_settings_too(repeats):
    trials = [
        one
        for k, rate in enumerate((0.1, 0.01))
        for optimizer, mean in ((ADAM, 0.6), (SGD, 0.5))
        for one in repeats(*(mean + k / 10 + np.array([0, 0.01, 0.03])), learning_rate=rate, **optimizer)
    ]

    figures = drawn(trials)

    assert figures.keys() == {*FIGURES, *REPEATED} - {"profiles.png"}
    for image in figures.values():
        assert Image.open(io.BytesIO(image)).size == (900, 600)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # of an infinity less another
def test_a_loss_that_begins_infinite_is_drawn_from_where_it_is_finite(repeats):
    trials = [*repeats(0.5, 0.6, learning_rate=0.1), *repeats(0.4, 0.7, learning_rate=0.2)]
    for trial in trials:
        trial.curves["train/loss"].values[0] = np.inf
        trial.curves["train/loss"].values[-1] = 0.01

    assert Image.open(io.BytesIO(draw_bands(trials))).size == (900, 600)


def test_an_accuracy_has_a_linear_axis_and_a_loss_that_falls_far_a_logarithmic_one(repeats, figures):
    # given curves of which each ends at ten times its least value
    trials = [*repeats(0.9, 0.95, learning_rate=0.1), *repeats(0.8, 0.85, learning_rate=0.2)]
    for trial in trials:
        trial.curves["val/accuracy"].values[0] = 0.05
        trial.curves["train/loss"].values[-1] = 0.01

    draw_bands(trials)

    loss, accuracy = figures[0].axes
    assert (loss.get_yscale(), accuracy.get_yscale()) == ("log", "linear")


def test_a_metric_of_one_point_has_no_curves_alone(repeats, figures):
    # given losses that cannot be compared, and one evaluation
    kinds = [{"loss": {"name": loss}} for loss in ("svm", "softmax")]
    trials = [one for kind in kinds for one in repeats(0.9, 0.8, **kind)]
    for trial in trials:
        trial.curves["val/accuracy"] = Series(steps=np.array([60]), values=np.array([0.9]))

    assert draw_bands(trials) == b""
    assert draw_bands([one for one in trials if "svm" in str(one.standing.used)]), "the training loss has a curve"
    assert len(figures[0].axes) == 2


def test_the_bands_of_two_repeats_do_not_squeeze_their_lines(repeats, figures):
    # given repeats whose interval reaches beyond 100 % and below 0, and far beyond all curves
    trials = [*repeats(0.9, 0.99, learning_rate=0.1), *repeats(0.2, 0.5, learning_rate=0.2)]
    for trial in trials:
        trial.curves["train/loss"].values[-1] /= 100

    draw_bands(trials)

    for axes, name, unit in zip(figures[0].axes, ("train/loss", "val/accuracy"), (1, 100), strict=True):
        values = unit * np.concatenate([trial.curves[name].values for trial in trials])
        bands = np.concatenate([band.get_paths()[0].vertices[:, 1] for band in axes.collections])
        low, high = axes.get_ylim()
        assert values.min() / 2.1 < low < values.min()
        assert values.max() < high < 2.1 * values.max()
        assert bands.min() == (low if unit == 1 else 0)
    assert [axes.get_yscale() for axes in figures[0].axes] == ["log", "linear"]
    assert (bands.max(), high < 105) == (100, True)


def test_settings_with_long_names_are_told_apart(repeats, figures):
    # given names that begin alike, with more letters than there is room for, and losses that make them profiles
    values = {"strategy": {"name": "gradient", "initial_scale": 0.0123456}, "regularization": 0.00123456, "clip": 10.0}
    trials = [
        one
        for loss in ("svm", "softmax")
        for k, rate in enumerate((0.00156767, 0.00122291, 0.000284999))
        for one in repeats(0.9 - k / 10, 0.8, **values, loss={"name": loss}, learning_rate=rate)
    ]
    trials += repeats(0.1, 0.2, regularization=0.1, clip=5.0)

    draw_bands(trials)
    draw_intervals(trials)
    draw_profiles(trials)

    bands, intervals, profiles = figures
    names = [tick.get_text() for tick in intervals.axes[0].get_yticklabels()]
    legends = bands.legends[0], profiles.axes[0].get_legend()
    assert [len({text.get_text() for text in one.get_texts()}) for one in legends] == [6, 3]
    assert len(set(names)) == 7
    assert max(map(len, names)) <= 40


def test_the_intervals_of_losses_that_span_much_are_on_a_logarithmic_axis(repeats, figures):
    trials = [*repeats(0.5, 0.5, learning_rate=0.1), *repeats(0.5, 0.5, learning_rate=0.2)]
    for trial, loss in zip(trials, (0.2, 0.3, 400.0, 500.0), strict=True):
        trial.standing.criterion = Criterion(metric="val/loss", mode="min")
        trial.standing.metrics = {"val/loss": loss}

    draw_intervals(trials)

    assert figures[0].axes[0].get_xscale() == "log"


def test_settings_whose_repeats_are_all_equal_have_error_bars(repeats):
    trials = [*repeats(*[0.35] * 6, learning_rate=0.1), *repeats(*[0.3] * 10, learning_rate=0.2)]

    assert Image.open(io.BytesIO(draw_slices(trials))).size == (900, 600)


def test_captions_count_one_of_a_kind_as_one(record, repeats):
    two = repeats(0.5, 0.6)

    assert caption_of([record(0.5)]).startswith("1 trial · ")
    assert caption_of(as_means(two)).startswith("means of 1 setting · ")
    assert caption_of_settings(by_setting(two)).startswith("1 setting x 2 repeats · ")


def test_a_sweep_without_repeats_has_what_it_had_and_says_that_one_seed_is_one_draw(record):
    trials = [record(0.5, learning_rate=0.1), record(0.6, learning_rate=0.2)]

    assert set(drawn(trials)) <= FIGURES.keys()
    assert caption_of_draws(trials) == caption_of(trials) + " · one seed each is one draw"


def test_the_mean_of_a_setting_is_of_the_repeats_that_have_an_answer(repeats):
    trials = [*repeats(0.4, 0.6, learning_rate=0.1), *repeats(0.1, outcome=Outcome.DIVERGED, learning_rate=9.0)]
    trials += repeats(0.9, outcome=Outcome.DIVERGED, learning_rate=0.1, data_seed=5)

    best, lost = as_means(trials)

    assert best.standing.metrics["val/accuracy"] == pytest.approx(0.5)
    assert best.standing.message == "1 of 3 diverged"
    assert best.curves["val/accuracy"].values[-1] == pytest.approx(0.5)
    assert (best.is_mean, best.standing.trial.name) == (True, "gradient lr=0.1")
    assert lost.standing.outcome is Outcome.DIVERGED
    assert "seed" not in caption_of([best, lost])
    assert caption_of([best, lost]).startswith("means of 2 settings · dataset=digits")
    assert are_repeated(trials)
    assert not are_repeated(as_means(trials))


def test_settings_stand_by_their_means_and_not_by_their_luckiest_repeat(repeats):
    trials = [*repeats(0.9, 0.1, learning_rate=1.0), *repeats(0.6, 0.7, learning_rate=2.0)]

    assert [one.setting.name for one in by_setting(trials)] == ["gradient lr=2", "gradient lr=1"]


def test_a_mean_is_over_the_steps_that_all_repeats_have():
    one = Series(steps=np.array([10, 20, 30]), values=np.array([1.0, 2.0, 3.0]))
    other = Series(steps=np.array([20, 30, 40]), values=np.array([4.0, 5.0, 6.0]))

    steps, values = mean_curve([one, other])

    assert steps.tolist() == [20, 30]
    assert values.tolist() == [[2.0, 3.0], [4.0, 5.0]]


def test_a_band_is_students_interval():
    values = np.random.default_rng(0).normal(size=(7, 3))

    low, high = stats.t.interval(0.95, 6, loc=values.mean(axis=0), scale=stats.sem(values))

    found = students(values.mean(axis=0), values.var(axis=0, ddof=1) / 7, 6)
    assert found == pytest.approx(np.column_stack([low, high]))


def test_an_optimiser_has_the_place_of_a_batch_size_that_is_not_swept():
    assert _side(["optimizer", "learning_rate"]) == "optimizer"
    assert _side(["optimizer", "batch_size"]) == "batch_size"


def test_profiles_are_over_the_losses_and_of_ways_that_all_of_them_have(repeats):
    svm, softmax = ({"loss": {"name": name}} for name in ("svm", "softmax"))
    trials = [
        *repeats(0.5, 0.7, **svm, **ADAM),
        *repeats(0.3, 0.2, **softmax, **ADAM),
        *repeats(0.4, **svm, **SGD),
        *repeats(0.9, outcome=Outcome.DIVERGED, **softmax, **SGD),
        *repeats(0.4, **svm, learning_rate=3.0),
    ]

    ways = _ways(by_setting(trials), "loss")

    assert sorted(ways["gradient adam lr=0.001"].tolist()) == [0.2, 0.3, 0.5, 0.7]
    assert sorted(ways["gradient sgd lr=0.001"].tolist()) == [0.0, 0.4]
    assert len(ways) == 2
    assert "profiles.png" in draw_sweep("profiles.png", trials)


def test_an_interval_of_the_picture_is_the_tables(repeats):
    trials = repeats(0.5, 0.6, 0.65, learning_rate=0.1)

    (one,) = by_setting(trials)

    assert one.setting.summary("val/accuracy") == summarize([0.65, 0.6, 0.5])


def test_a_setting_that_was_stopped_is_not_said_to_be_as_good_as_the_best(repeats, figures):
    # given one that was stopped, which is compared with none, and one with a single repeat
    best = repeats(0.9, 0.91, 0.92, learning_rate=0.1)
    others = [repeats(0.1, 0.12, outcome=Outcome.STOPPED, learning_rate=0.2), repeats(0.2, learning_rate=0.3)]

    draw_intervals([*best, *(one for other in others for one in other)])

    (axes,) = figures[0].axes
    (legend,) = figures[0].legends
    told = [text.get_text() for text in legend.get_texts()]
    assert legend.get_window_extent().y1 < axes.get_window_extent().y0, "it hides no interval"
    assert told == ["the best", "not compared with it: stopped early, or one repeat"]


def test_thin_curves_of_repeats_have_steps_in_common_over_their_whole_length():
    repeats = []
    for seed in range(5):
        curves, loss = Curves(), np.random.default_rng(seed).standard_normal(1000)
        curves.add("train/loss", Series(steps=np.arange(1, 1001), values=loss))
        curves.thin(200)
        repeats.append(curves.series()["train/loss"])

    steps, values = mean_curve(repeats)

    assert len(steps) >= 100
    assert np.diff(steps).max() <= 10
    assert values.shape == (5, len(steps))
