"""The curves of losses over costs are told apart, in view, and beside readable numbers."""

import itertools

import numpy as np
import pytest

from pipeline.figures.costs import draw_costs
from pipeline.results.curves import Series
from tasks.events import Outcome


@pytest.fixture
def costs(monkeypatch):
    """Return what draws the losses over costs, and returns the figure."""
    figures = []
    monkeypatch.setattr("pipeline.figures.costs.captioned", lambda figure, *_, **__: figures.append(figure) or b"")

    def draw(trials):
        draw_costs(trials)
        return figures[-1]

    return draw


def test_the_curves_over_costs_are_told_apart_by_what_is_swept(record, costs):
    optimizers = [{"optimizer": {"name": name}} for name in ("sgd", "adam")]
    grid = [record(0.5 + k / 10, **row, learning_rate=rate) for k, row in enumerate(optimizers) for rate in (1.0, 2.0)]

    def told(trials):
        figure = costs(trials)
        shown = figure.legends[0].get_texts()  # below the panels, where it hides no curve
        return [figure.get_suptitle().rpartition("by ")[2], *(text.get_text().partition(":")[0] for text in shown)]

    assert costs(grid).get_suptitle() == "Lowest SVM loss so far, by optimizer"
    assert told(grid) == ["optimizer", "sgd", "adam"]
    assert told([record(0.5, batch_size=size) for size in (None, 16)]) == ["batch_size", "16", "all"]
    assert told([record(0.5, learning_rate=0.1 / (k + 1)) for k in range(9)]) == ["strategy", "gradient"]
    searches = [record(0.5, strategy={"name": name}) for name in ("random", "local")]
    assert told([*grid, *searches]) == ["strategy", "gradient", "local", "random"]


def test_the_curves_over_costs_are_in_view_but_for_what_is_far_from_the_others(record, costs):
    # given trials whose losses fall from 2 to 0.1, but for one that is best by its accuracy alone, one that falls
    # further, and three that are far away: of a minibatch without a loss, of one with hardly any, and of no use at all
    ends = [(2.0, 1.0), *[(2.0, 0.1)] * 5, (2.0, 0.003), (2.0, 0.0), (2.0, 1e-12), (1e12, 1e11)]

    low, high = costs(losses(record, ends)).axes[0].get_ylim()

    assert 1e-12 < low < 0.003
    assert 2.0 < high < 1e11


def test_the_lowest_of_the_curves_over_costs_is_in_view_where_most_trials_are_far_above(record, costs):
    low, _ = costs(losses(record, [(2.0, 0.1), (2.0, 0.02), *[(1e4, 1e3)] * 6])).axes[0].get_ylim()

    assert low < 0.02


def test_the_curves_over_costs_are_in_view_where_most_trials_diverge_and_a_single_point_is_seen(record, costs):
    trials = losses(record, [(2.0, 0.1), *[(1e22, np.inf)] * 5])
    for trial in trials[1:]:
        trial.standing.outcome = Outcome.DIVERGED

    axes = costs(trials).axes[0]

    assert axes.get_ylim()[1] < 1e3
    markers = {line.get_label(): line.get_marker() for line in axes.lines if line.get_label().partition(": ")[2]}
    assert set(markers.values()) == {"", "o"}
    assert [label for label, marker in markers.items() if not marker] == ["0.1: 0.1"]


def test_losses_that_were_never_finite_have_no_curves_over_costs(record):
    assert draw_costs(losses(record, [(np.nan, np.nan), (np.inf, np.inf)])) == b""


@pytest.mark.parametrize(("sizes", "said"), [((1, 4, 256, None), "1, 4"), ((16, None), "")])
def test_the_lowest_loss_of_few_examples_is_said_to_be_luck(record, figures, sizes, said):
    draw_costs([record(0.5, batch_size=size) for size in sizes])

    caption = figures[0].texts[-1].get_text().replace("\n", " ")
    assert caption.endswith(f"with batch_size={said} a loss is of few examples, and the lowest is luck") is bool(said)


def losses(record, ends):
    """Return trials whose losses fall from and to these."""
    trials = [record(0.9, learning_rate=0.1 * (k + 1)) for k in range(len(ends))]
    for trial, values in zip(trials, ends, strict=True):
        loss = Series(steps=np.array([10, 20]), values=np.array(values))
        object.__setattr__(trial, "curves", trial.curves | {"train/loss": loss})
    return trials


@pytest.mark.parametrize("factor", [1.2, 1.8, 2.5, 4, 9, 40, 90, 1e3])
@pytest.mark.parametrize("lowest", [1.3, 2.0, 2.6e3, 5.5e-3, 2e5, 5e5])
def test_the_numbers_of_a_logarithmic_axis_are_two_at_least_and_apart(record, costs, lowest, factor):
    trials = [record(0.5, learning_rate=rate) for rate in (1.0, 2.0)]
    for trial in trials:
        for curve in ("evaluations", "examples"):
            spent = np.geomspace(lowest, lowest * factor, 10)
            trial.curves[curve] = Series(steps=trial.curves[curve].steps, values=spent)

    figure = costs(trials)

    figure.canvas.draw()
    axis = figure.axes[1].xaxis
    low, high = axis.get_view_interval()
    ticks = [tick for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()) if low <= tick.get_loc() <= high]
    boxes = sorted(tick.label1.get_window_extent().extents.tolist() for tick in ticks if tick.label1.get_text())
    assert len(boxes) >= 2
    assert all(left[2] + 5 < right[0] for left, right in itertools.pairwise(boxes))
