"""accuracy.png: a heat map, or slices, or a line each."""

import itertools

import numpy as np
import pytest

from pipeline.figures.heat_maps import _cells, _values, draw_heat_maps
from pipeline.figures.slices import draw_slices
from pipeline.figures.sweep import draw_sweep
from tasks.events import Outcome
from tests.pipeline.figures.rows import rows


def grid(record, rates, sizes):
    return [record(0.5, learning_rate=rate, batch_size=size) for rate in rates for size in sizes]


def searched(record, count):
    """Return trials over rates of which no two are the same, and two batch sizes."""
    return [record(0.5, learning_rate=1.2345678e-4 * (k + 1), batch_size=16 << k % 2) for k in range(count)]


def test_trials_that_fill_a_table_have_a_heat_map_and_those_of_a_search_do_not(record):
    random, gradient = rows("random", "gradient")
    strategies = [*(record(0.5, **gradient, learning_rate=rate, batch_size=size) for rate in (1, 2) for size in (8, 9))]

    assert draw_heat_maps(grid(record, (0.1, 0.01), (16, 32)))
    assert draw_heat_maps([*strategies, record(0.1, **random, batch_size=8)])
    assert draw_heat_maps(grid(record, (0.1, 0.01, 0.001), (16, None))[:-1]), "one cell is blank"
    assert not any(draw_heat_maps(searched(record, count)) for count in (4, 12, 40))
    # nor have those of one row or column, and of more than can be read
    assert not draw_heat_maps(grid(record, (0.1, 0.01), (16,)))
    assert not draw_heat_maps(grid(record, (0.1,), (16, 32)))
    assert not draw_heat_maps(grid(record, [0.1 / (k + 1) for k in range(20)], (16, 32)))


def test_the_caption_of_a_heat_map_tells_of_the_marks_that_are_in_it(record, figures):
    whole = grid(record, (0.1, 0.01), (16, 32))
    lost = record(0.5, Outcome.DIVERGED, learning_rate=0.001, batch_size=16)

    draw_heat_maps(whole)
    draw_heat_maps([*whole, lost])

    captions = [figure.texts[-1].get_text().replace("\n", " ") for figure in figures]
    assert [("x: diverged" in text, "blank: no result" in text) for text in captions] == [(False, False), (True, True)]


@pytest.mark.parametrize("count", [2, 4, 16])
def test_the_ticks_of_a_heat_map_do_not_overlap(record, figures, count):
    draw_heat_maps(grid(record, [1.2345678e-4 * (k + 1) for k in range(count)], (16, 32)))

    ticks = figures[0].axes[0].get_xticklabels()
    if ticks[0].get_rotation():
        apart = np.diff([tick.get_transform().transform(tick.get_position())[0] for tick in ticks]).min()
        across = np.sin(np.radians(ticks[0].get_rotation())) * apart  # between the lines of two texts
        assert across > ticks[0].get_fontsize() * figures[0].dpi / 72
    else:
        boxes = [tick.get_window_extent() for tick in ticks]
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_a_search_is_drawn_over_each_of_its_numbers(record, figures):
    # given a search whose first trial diverged
    trials = [*searched(record, 12), record(0.1, Outcome.DIVERGED, learning_rate=10.0)]

    assert draw_sweep("accuracy.png", trials)

    rates, sizes = figures[0].axes
    (dots, best, lost), (_, best_of_size, _) = rates.lines, sizes.lines
    assert (rates.get_xlabel(), rates.get_xscale(), len(dots.get_xdata())) == ("learning_rate", "log", 12)
    assert (sizes.get_xlabel(), best_of_size.get_xdata().tolist()) == ("batch_size", [16, 32])
    assert best.get_linestyle() == "None", "its neighbours have other sizes, too"
    assert best_of_size.get_linestyle() == "-"
    assert lost.get_xdata() == [10.0]


def test_what_does_not_use_a_number_is_a_line_across_its_panel(record, figures):
    random, gradient = rows("random", "gradient")

    draw_sweep("accuracy.png", [record(0.5, regularization=value) for value in (0.0, 1e-4, 1e-2)])
    one = record(0.2, **random, batch_size=None)
    draw_sweep("accuracy.png", [*(record(0.5, **gradient, learning_rate=rate, batch_size=8) for rate in (1, 2)), one])

    assert figures[0].axes[0].get_xscale() == "symlog", "0 stands apart from the least of the others"
    (axes,) = figures[1].axes
    assert [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"] == [20.0]
    assert {text.get_text() for text in figures[1].legends[0].get_texts()} == {
        "gradient batch_size=8",
        "random batch_size=all",
    }


def test_a_number_that_each_choice_has_one_of_is_no_axis(record, figures):
    # given strategies that have a learning rate each, and one that has none
    random, local, gradient = rows("random", "local", "gradient")
    trials = [record(0.9, **gradient, learning_rate=0.01), record(0.6, **local, learning_rate=0.03)]

    draw_sweep("accuracy.png", [*trials, record(0.3, **random)])
    draw_sweep("accuracy.png", [*trials, record(0.5, **local, learning_rate=0.3)])

    assert [figure.axes[0].get_xlabel() for figure in figures] == ["val/accuracy / %", "learning_rate"]


def test_trials_without_a_number_are_a_line_each_with_their_accuracy(record, figures):
    kinds = rows("random", "local", "gradient")

    draw_sweep("accuracy.png", [record(0.3 * k, **kind) for k, kind in enumerate(kinds, start=1)])

    (axes,) = figures[0].axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["gradient", "local", "random"]
    assert [line.get_xdata()[0] for line in axes.lines] == pytest.approx([90, 60, 30])
    assert axes.get_xlabel() == "val/accuracy / %"
    assert not figures[0].legends, "single trials are not compared"


def test_the_caption_of_slices_explains_what_is_there_and_nothing_else(record, figures):
    trials = [record(0.5, learning_rate=rate) for rate in (0.1, 0.01)]
    (random,) = rows("random")

    draw_slices(trials)
    draw_slices([*trials, record(0.2, **random), record(0.1, Outcome.DIVERGED, learning_rate=9.0)])
    draw_slices([record(0.5, batch_size=size) for size in (16, 32, None)])
    draw_slices([*trials, record(0.2, Outcome.STOPPED, learning_rate=9.0)])
    draw_slices([trials[0], *(record(0.2, Outcome.STOPPED, learning_rate=rate) for rate in (1.0, 9.0))])

    captions = [figure.texts[-1].get_text().replace("\n", " ") for figure in figures]
    notes = [text.partition("one draw · ")[2] for text in captions]
    assert notes == [
        "line: the best at each value",
        "line: the best at each value · dotted: no learning_rate · x: diverged or failed",
        "line: the best at each value · dotted: batch_size=all",
        "v: stopped early, with its value there · line: the best at each value",
        "v: stopped early, with its value there",
    ]


def test_a_cell_holds_the_best_accuracy_and_what_diverged_or_was_stopped_is_marked(record):
    # given trials in one cell, of which one diverged, a cell in which all did, and one in which all were stopped
    trials = [
        record(0.7, learning_rate=0.1, seed=2),
        record(0.5, learning_rate=0.1, seed=1),
        record(0.8, Outcome.STOPPED, learning_rate=0.1, seed=4),
        record(0.6, Outcome.STOPPED, learning_rate=2.0),
        record(0.9, Outcome.DIVERGED, learning_rate=0.1, seed=3),
        record(0.9, Outcome.DIVERGED, learning_rate=1.0),
    ]

    cells = _cells(trials, _values(trials, "learning_rate"), _values(trials, "batch_size"), "batch_size")

    assert cells == {(0, 0): trials[0], (0, 2): trials[3], (0, 1): trials[5]}


def test_what_was_stopped_early_or_diverged_is_marked_in_a_heat_map(record, figures):
    ends = [record(0.25, Outcome.STOPPED, learning_rate=0.01, batch_size=32)]
    ends += [record(0.75, Outcome.DIVERGED, learning_rate=0.01, batch_size=16)]

    draw_heat_maps([*grid(record, (0.1,), (16, 32)), *ends])

    texts = [text.get_text() for text in figures[0].axes[0].texts]
    assert sorted(texts) == ["(25.0)", "50.0", "50.0", "x"]


def test_what_was_stopped_early_is_in_no_line_of_slices(record, figures):
    # given two optimisers, of which one was stopped at its second learning rate, and the other at both
    sgd, adam = ({"optimizer": {"name": name}} for name in ("sgd", "adam"))
    trials = [
        *(record(0.7 - rate, **sgd, learning_rate=rate) for rate in (0.1, 0.2)),
        *(record(0.4, Outcome.STOPPED, **kind, learning_rate=0.3) for kind in (sgd, adam)),
        record(0.4, Outcome.STOPPED, **adam, learning_rate=0.4),
    ]

    draw_slices(trials)

    (axes,) = figures[0].axes
    joined = [line.get_xdata().tolist() for line in axes.lines if line.get_linestyle() not in {"None", ""}]
    assert joined == [[0.1, 0.2]]
    marked = [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "v"]
    assert marked == [[0.3, 0.4], [0.3]]
    assert {text.get_text() for text in figures[0].legends[0].get_texts()} == {"sgd", "adam"}
