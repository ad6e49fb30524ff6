"""The figure of rungs is drawn where trials were stopped, and can be read."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.figures.rungs import _draw_counts, _limits, draw_rungs
from pipeline.figures.style import blank
from pipeline.figures.sweep import draw_sweep
from pipeline.results.criterion import Criterion
from pipeline.results.curves import Series, TrialRecord
from tasks.events import Outcome


def test_the_rungs_of_a_sweep_are_drawn_where_any_trial_was_stopped(record):
    ended = [record(0.9, learning_rate=1.0), record(0.5, Outcome.DIVERGED, learning_rate=9.0)]
    stopped = [record(0.5, Outcome.STOPPED, learning_rate=rate) for rate in (2.0, 3.0)]

    assert Image.open(io.BytesIO(draw_sweep("rungs.png", [*ended, *stopped])["rungs.png"])).size == (900, 600)
    assert draw_sweep("rungs.png", ended) == {}


def test_how_many_were_lost_is_told_where_there_is_room(record, figures):
    stopped = [record(0.5, Outcome.STOPPED, learning_rate=2.0), record(0.9, learning_rate=1.0)]

    draw_rungs([*stopped, *(record(0.5, Outcome.DIVERGED, learning_rate=9.0) for _ in range(120))])
    draw_rungs(stopped)

    captions = [figure.texts[-1].get_text() for figure in figures]
    assert ["120 diverged or failed" in caption.replace("\n", " ") for caption in captions] == [True, False]
    assert all(axes.title.get_window_extent().x1 < 900 for axes in figures[0].axes)


def test_the_accuracy_at_rungs_is_in_percent(record, figures):
    trials = [record(0.9), record(0.5, Outcome.STOPPED, learning_rate=2.0)]
    for trial in trials:
        trial.curves["val/accuracy"] = Series(steps=np.array([50, 100]), values=np.array([0.25, 0.5]))

    draw_rungs(trials)

    axes = figures[0].axes[0]
    assert figures[0].texts[0].get_text() == "1 of 2 trials stopped at 1 rung"
    low, high = axes.get_ylim()
    assert axes.get_ylabel() == "val/accuracy / %"
    assert axes.lines[0].get_ydata().tolist() == [25, 50]
    assert (low < 25, high > 50) == (True, True)


@pytest.mark.parametrize(("worst", "told"), [(0.0, True), (0.5, False)])
def test_that_the_worst_values_are_out_of_view_is_told(record, figures, worst, told):
    trials = [record(0.9), record(0.5, Outcome.STOPPED, learning_rate=2.0)]
    values = np.array([worst] + [0.5] * 99)
    trials[0].curves["val/accuracy"] = Series(steps=np.arange(1, 101), values=values)

    draw_rungs(trials)

    assert ("the worst values are beyond the axis" in figures[0].texts[-1].get_text().replace("\n", " ")) is told


@pytest.mark.parametrize(("mode", "best"), [("max", 1000.0), ("min", -1000.0)])
def test_the_best_curves_of_a_funnel_are_in_view_whatever_the_metric_is(record, mode, best):
    # given a metric of one's own, which is no accuracy, with one value far better and one far worse than the others
    trial = record(0.5)
    trial.standing.criterion = Criterion(metric="reward", mode=mode)
    curves = {"reward": Series(steps=np.arange(1, 101), values=np.array([0.0] * 98 + [1000.0, -1000.0]))}

    low, high = _limits([TrialRecord(standing=trial.standing, curves=curves)], "reward", mode)

    assert low < best < high
    assert not low < -best < high


def test_the_metric_that_decided_is_drawn_and_not_the_one_that_ranks(record, figures):
    # given losses of which one goes far up, and then no curves of the metric that decided
    rule = {"name": "halving", "metric": "train/loss"}
    trials = [record(0.9, stopping=rule), record(0.5, Outcome.STOPPED, learning_rate=2.0, stopping=rule)]
    trials[1].curves["train/loss"].values[:] = np.linspace(10, 1e4, 10)

    draw_rungs(trials)
    for trial in trials:
        del trial.curves["train/loss"]
    draw_rungs(trials)

    decided, ranked = (figure.axes[0] for figure in figures)
    assert (decided.get_ylabel(), decided.get_yscale()) == ("train/loss", "log")
    assert decided.get_ylim()[0] < 0.1 + np.exp(-5)
    assert decided.get_ylim()[1] > 9000
    assert (ranked.get_ylabel(), ranked.get_yscale()) == ("val/accuracy / %", "linear")


def test_trials_with_the_single_point_of_the_first_rung_are_in_view(record, figures):
    # given a trial with a thousand points, and nine that were stopped at their first
    trials = [record(0.9), *(record(0.1 + k / 100, Outcome.STOPPED, learning_rate=k + 1.0) for k in range(9))]
    trials[0].curves["val/accuracy"] = Series(steps=np.arange(1000), values=np.full(1000, 0.9))
    for trial in trials[1:]:
        first = Series(steps=np.array([1]), values=np.array([trial.standing.metrics["val/accuracy"]]))
        trial.curves["val/accuracy"] = first

    draw_rungs(trials)

    assert figures[0].axes[0].get_ylim()[0] < 10


def test_the_names_of_a_hundred_rungs_do_not_overlap(record):
    # given the median rule, which has stopped a trial at each of a hundred rungs
    trials = [record(0.9), *(record(0.5, Outcome.STOPPED, learning_rate=1.0 + k) for k in range(100))]
    for k, trial in enumerate(trials[1:]):
        trial.standing.step = 10 * (k + 1)
    _, (axes,) = blank(title="how many go on")

    _draw_counts(axes, trials, [10.0 * (k + 1) for k in range(100)])

    texts = [tick.get_text() for tick in axes.get_yticklabels()]
    assert texts[:2] == ["begin", "after 50"]
    assert [text.get_text() for text in axes.texts if text.get_text()][:2] == ["101", "96"]
    assert len(texts) <= 22
