"""The figures of a search show what it has proposed, and are left out where there is nothing to show."""

import dataclasses
import io
import itertools

import pytest
from PIL import Image

from pipeline.figures.search import draw_search
from pipeline.reports import Searched, Told
from pipeline.results.criterion import on_front


def searched(values, *, outcomes=None, directions=("maximize",), importances=None):
    proposals = tuple(
        Told(number=number, params={"learning_rate": f"{number}"}, known=0, outcome=outcome, values=value)
        for number, (value, outcome) in enumerate(zip(values, outcomes or ["complete"] * len(values), strict=True))
    )
    metrics = ("val/accuracy", "examples", "train/loss")[: len(directions)]
    return Searched(
        sampler="TPESampler",
        metrics=metrics,
        directions=directions,
        proposals=proposals,
        importances=importances or {},
    )


@pytest.fixture
def axes_of(figures):
    """Return what draws a search, and returns the axes of its figure."""

    def draw(report):
        draw_search(report)
        return figures[-1].axes[0]

    return draw


@pytest.mark.parametrize("importances", [{}, {"learning_rate": 0.9, "batch_size": 0.1}])
def test_a_search_has_its_history_and_what_mattered(importances):
    outcomes = ["complete", "stopped early", "diverged", "failed", "complete", ""]
    report = searched([(0.5,), (0.25,), (), (), (0.75,), ()], outcomes=outcomes, importances=importances)

    ((name, image),) = draw_search(report).items()

    assert name == "search.png"
    assert Image.open(io.BytesIO(image)).size == (900, 600)


@pytest.mark.parametrize("directions", [("maximize",), ("maximize", "minimize"), ("maximize",) * 3])
def test_the_legend_of_a_search_hides_no_point(axes_of, directions):
    axes = axes_of(searched([(0.5, 1, 2)[: len(directions)]] * 2, directions=directions))

    assert axes.figure.legends[0].get_window_extent().y1 < axes.get_window_extent().y0


@pytest.mark.parametrize("importances", [{}, {"learning_rate": 1.0}])
def test_where_there_is_no_importance_the_caption_says_why(figures, importances):
    draw_search(searched([(0.5,), (0.25,)], importances=importances))

    captions = " ".join(text.get_text().replace("\n", " ") for text in figures[-1].texts)
    assert ("importance of keys takes ten complete proposals" in captions) is not bool(importances)


def test_the_best_so_far_is_that_of_all_that_came_after_it_too_in_percent(axes_of):
    # given a search whose best trial was its second, and whose later ones were stopped
    outcomes = ["complete", "complete", "stopped early", "stopped early"]

    axes = axes_of(searched([(0.5,), (0.75,), (0.25,), (0.7,)], outcomes=outcomes))

    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[0, 50], [1, 75], [3, 75]]
    assert axes.get_ylabel() == "val/accuracy / %"


def test_the_history_of_losses_that_span_much_is_logarithmic(axes_of):
    report = searched([(0.2,), (), (40.0,)], outcomes=["complete", "diverged", "complete"], directions=("minimize",))

    assert axes_of(report).get_yscale() == "linear", "an accuracy"
    axes = axes_of(dataclasses.replace(report, metrics=("val/loss",)))
    assert axes.get_yscale() == "log"
    assert axes.collections[-1].get_offsets()[0, 1] > 0, "what has no value"


def test_several_objectives_have_their_front():
    report = searched([(0.5, 10.0), (0.25, 5.0), (0.5, 20.0)], directions=("maximize", "minimize"))

    assert list(draw_search(report)) == ["pareto.png"]
    assert on_front([(0.5, 10.0), (0.25, 5.0), (0.5, 20.0), (0.5, 10.0)], report.directions) == [1, 1, 0, 1]


def test_of_three_objectives_the_first_is_shown_against_each_of_the_others(figures):
    values, directions = [(0.5, 10.0, 3.0), (0.25, 5.0, 4.0), (0.1, 20.0, 5.0)], ("maximize", "minimize", "minimize")

    draw_search(searched(values, directions=directions))

    fronts = {axes.get_ylabel(): axes.lines[0].get_xydata().tolist() for axes in figures[-1].axes}
    assert fronts == {
        "examples (minimize)": [[25, 5], [50, 10]],
        "train/loss (minimize)": [[25, 4], [50, 3]],
    }


@pytest.mark.parametrize("directions", list(itertools.product(("maximize", "minimize"), repeat=2)))
def test_a_front_beside_far_worse_values_is_spread_out_and_its_numbers_touch_no_point(axes_of, directions):
    # given a front of accuracies with ever higher (or lower) costs, and costs that are far worse
    step = 1 if directions[0] != directions[1] else -1
    front = [(0.9 + k / 100, 10.0 * 1.5 ** (step * k)) for k in range(6)]
    signs = [1 if way == "maximize" else -1 for way in directions]
    worse = [(0.9 - signs[0] * 0.1 * k, 10.0 * 10.0 ** (-3 * signs[1] * k)) for k in (1, 2)]

    axes = axes_of(searched([*front, *worse], directions=directions))

    assert [axes.get_xscale(), axes.get_yscale()] == ["linear", "log"]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(front)
    points = axes.transData.transform([(100 * one, other) for one, other in (*front, *worse)])
    assert not any(box.contains(*point) for box in boxes for point in points)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_the_numbers_of_a_front_are_not_written_over_each_other(axes_of):
    # given points that were proposed several times, and others that lie close together
    same = [(0.8, 40.0)] * 2 + [(0.5, 10.0)] * 5
    close = [(0.9 + k / 1000, 50.0 + k) for k in range(20)]

    axes = axes_of(searched([*same, *close], directions=("maximize", "minimize")))

    texts = [text.get_text() for text in axes.texts]
    assert texts[:3] == ["#2, #3, #4, ...", "#0, #1", "#7"]
    assert len(texts) < 2 + len(close)
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_a_search_that_has_measured_less_than_two_trials_has_no_figure():
    assert draw_search(searched([(0.5,), ()], outcomes=["complete", "failed"])) == {}


def test_several_objectives_of_which_all_trials_were_stopped_have_no_front():
    # given a sweep that was interrupted after its first rung
    values, directions = [(0.5, 10.0), (0.25, 5.0)], ("maximize", "minimize")

    assert draw_search(searched(values, outcomes=["stopped early"] * 2, directions=directions)) == {}


def test_what_is_told_later_takes_the_place_of_what_was_told_before():
    first = searched([(0.5,), ()], outcomes=["complete", ""])
    second = searched([(0.5,), (0.75,), ()], outcomes=["complete", "complete", ""])

    assert second.after(None) == second
    assert first.after(second).proposals == (*first.proposals, second.proposals[2])


def test_how_much_was_known_when_a_proposal_was_made_stays():
    made = searched([(0.5,)], outcomes=["complete"])
    repeated = dataclasses.replace(made, proposals=(dataclasses.replace(made.proposals[0], known=7),))

    assert made.after(repeated).proposals[0].known == 7
