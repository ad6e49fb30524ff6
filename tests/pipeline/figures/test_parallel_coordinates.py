"""parallel_coordinates.png: the places of values on their axes."""

import numpy as np
import pytest

from pipeline.figures.heat_maps import _values
from pipeline.figures.parallel_coordinates import _axis, draw_parallel_coordinates
from tasks.events import Outcome
from tests.pipeline.figures.rows import rows


def test_values_stand_in_order_and_evenly():
    heights, _ = _axis("learning_rate", [0.001, 10.0, 0.1, "auto"], unused=True)

    assert list(heights)[1:] == ["0.001", "0.1", "10.0", "auto"]
    assert list(heights.values()) == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])


def test_the_many_numbers_of_a_search_stand_on_a_scale_beside_round_numbers():
    rates = [1.2345e-4 * 10 ** (k / 8) for k in range(25)]

    heights, ticks = _axis("learning_rate", rates, unused=True)

    least, *others = heights.values()
    assert least == 0, "not used"
    assert np.diff(others) == pytest.approx(np.full(24, (1 - others[0]) / 24))
    assert [text for text, _ in ticks] == ["not used", "0.001", "0.01", "0.1"]
    _, sizes = _axis("batch_size", list(range(20, 45)), unused=False)
    assert {text for text, _ in sizes} >= {"20", "30", "40"}
    _, narrow = _axis("learning_rate", [1e-3 * (k + 1) for k in range(13)], unused=False)
    assert [text for text, _ in narrow] == ["0.001", "0.002", "0.005", "0.01"]


def test_values_are_shown_in_few_letters():
    # given a rate that a search has proposed, and a text of a task's own
    _, rates = _axis("learning_rate", [0.00012345678901234, None], unused=True)
    _, prompts = _axis("task.prompt", ["word " * 9], unused=False)

    assert [text for text, _ in rates] == ["not used", "0.000123457", "null"]
    assert [text for text, _ in prompts] == ["word word...rd word "]


def test_what_was_stopped_early_has_its_mark_at_its_value(record, figures):
    trials = [
        record(0.9, learning_rate=1.0, batch_size=16),
        record(0.5, Outcome.STOPPED, learning_rate=2.0, batch_size=32),
        record(0.7, Outcome.STOPPED, learning_rate=2.0, batch_size=16),
        record(0.1, Outcome.DIVERGED, learning_rate=3.0, batch_size=32),
    ]

    for shown in (trials, trials[:1] + trials[3:]):
        draw_parallel_coordinates(shown)

    marks, others = ([line for line in figure.axes[0].lines if line.get_marker() == "v"] for figure in figures)
    assert sorted(float(line.get_ydata()[0]) for line in marks) == pytest.approx([0, 0.5])
    assert ["stopped early" in figure.texts[-1].get_text().replace("\n", " ") for figure in figures] == [True, False]
    assert others == []


def test_values_that_some_trials_do_not_use_come_last_whatever_they_are(record):
    local, gradient = rows("local", "gradient")
    trials = [record(0.5, **local)] + [record(0.5, **gradient, optimizer={"name": name}) for name in ("sgd", "adam")]

    assert _values(trials, "optimizer") == ["adam", "sgd", None]
    assert _values(trials, "batch_size") == [trials[0].standing.trial.trial.batch_size]


def test_the_caption_tells_of_dotted_lines_where_there_are_any(record, figures):
    trials = [record(0.5, learning_rate=rate, batch_size=size) for rate in (1.0, 2.0) for size in (8, 9)]

    draw_parallel_coordinates(trials)
    draw_parallel_coordinates([*trials, record(0.5, Outcome.DIVERGED, learning_rate=3.0)])

    captions = [figure.texts[-1].get_text().replace("\n", " ") for figure in figures]
    assert ["dotted: diverged" in caption for caption in captions] == [False, True]
