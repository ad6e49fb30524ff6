"""The figures of a search show what it has proposed, and are left out where there is nothing to show."""

import dataclasses
import io

import pytest
from PIL import Image

from pipeline.figures.search import _beats, draw_search
from pipeline.reports import Searched, Told


def searched(values, *, outcomes=None, directions=("maximize",), importances=None):
    proposals = tuple(
        Told(number=number, params={"learning_rate": f"{number}"}, known=0, outcome=outcome, values=value)
        for number, (value, outcome) in enumerate(zip(values, outcomes or ["complete"] * len(values), strict=True))
    )
    metrics = ("val/accuracy", "examples")[: len(directions)]
    return Searched(
        sampler="TPESampler",
        metrics=metrics,
        directions=directions,
        proposals=proposals,
        importances=importances or {},
    )


@pytest.mark.parametrize("importances", [{}, {"learning_rate": 0.9, "batch_size": 0.1}])
def test_a_search_has_its_history_and_what_mattered(importances):
    outcomes = ["complete", "stopped early", "diverged", "failed", "complete", ""]
    report = searched([(0.5,), (0.25,), (), (), (0.75,), ()], outcomes=outcomes, importances=importances)

    ((name, image),) = draw_search(report).items()

    assert name == "search.png"
    assert Image.open(io.BytesIO(image)).size == (900, 600)


def test_the_best_so_far_is_that_of_all_that_came_after_it_too(monkeypatch):
    # given a search whose best trial was its second, and whose later ones were stopped
    figures = []
    monkeypatch.setattr("pipeline.figures.search.captioned", lambda figure, _: figures.append(figure))
    outcomes = ["complete", "complete", "stopped early", "stopped early"]

    draw_search(searched([(0.5,), (0.75,), (0.25,), (0.7,)], outcomes=outcomes))

    (line,) = figures[0].axes[0].lines
    assert line.get_xydata().tolist() == [[0, 0.5], [1, 0.75], [3, 0.75]]


def test_several_objectives_have_their_front():
    report = searched([(0.5, 10.0), (0.25, 5.0), (0.5, 20.0)], directions=("maximize", "minimize"))

    assert list(draw_search(report)) == ["pareto.png"]
    assert _beats((0.5, 10.0), (0.5, 20.0), (1, -1))
    assert not _beats((0.5, 10.0), (0.25, 5.0), (1, -1))
    assert not _beats((0.5, 10.0), (0.5, 10.0), (1, -1))


def test_a_search_that_has_measured_less_than_two_trials_has_no_figure():
    assert draw_search(searched([(0.5,), ()], outcomes=["complete", "failed"])) == {}


def test_what_is_told_later_takes_the_place_of_what_was_told_before():
    first = searched([(0.5,), ()], outcomes=["complete", ""])
    second = searched([(0.5,), (0.75,), ()], outcomes=["complete", "complete", ""])

    assert second.after(None) == second
    assert first.after(second).proposals == (*first.proposals, second.proposals[2])


def test_how_much_was_known_when_a_proposal_was_made_stays():
    made = searched([(0.5,)], outcomes=["complete"])
    repeated = dataclasses.replace(made, proposals=(dataclasses.replace(made.proposals[0], known=7),))

    assert made.after(repeated).proposals[0].known == 7
