import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import ConfigError
from tasks.labels import accuracy
from tasks.losses import LOSSES, Logistic, Softmax, SquaredHinge, Svm
from tasks.rows import parse_row
from tests.tasks.plain import loss_of_example

ROWS = [kind() for kind in LOSSES.values()]


@pytest.fixture(params=ROWS, ids=list(LOSSES))
def loss(request):
    return request.param


def test_svm_by_hand():
    # given the three examples of CS231n's lecture: cat, car and frog
    scores = np.array([[3.2, 1.3, 2.2], [5.1, 4.9, 2.5], [-1.7, 2.0, -3.1]])
    losses = Svm().losses(scores, np.array([0, 1, 2]))
    np.testing.assert_allclose(losses, [2.9, 0.0, 12.9], rtol=1e-12)


def test_squared_hinge_by_hand():
    losses = SquaredHinge().losses(np.array([[3.2], [5.1], [-1.7]]), np.array([0]))
    np.testing.assert_allclose(losses, [2.9**2], rtol=1e-12)


def test_softmax_by_hand():
    # exp(1) + exp(2) + exp(3) = 30.19..., the correct class has score 2
    losses = Softmax().losses(np.array([[1.0], [2.0], [3.0]]), np.array([1]))
    np.testing.assert_allclose(losses, [np.log(np.exp(1) + np.exp(2) + np.exp(3)) - 2], rtol=1e-14)


def test_logistic_by_hand():
    # every class by itself: the first is right at 0, log(2); the second wrong at log(3), log(1 + 3)
    losses, gradient = Logistic().losses_and_gradient(np.array([[0.0], [np.log(3)]]), np.array([0]))
    np.testing.assert_allclose(losses, [np.log(2) + np.log(4)], rtol=1e-14)
    np.testing.assert_allclose(gradient, [[-1 / 2], [3 / 4]], rtol=1e-14)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_logistic_is_stable_for_huge_scores(size):
    right, wrong = (Logistic().losses_and_gradient(np.array([[s], [-s]]), np.array([0])) for s in (size, -size))
    assert (right[0], wrong[0]) == (0, 2 * size)
    np.testing.assert_array_equal(right[1], np.zeros((2, 1)))
    np.testing.assert_array_equal(wrong[1], [[-1], [1]])


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_softmax_is_stable_for_huge_scores(size):
    losses, gradient = Softmax().losses_and_gradient(np.array([[size], [0.0], [-size]]), np.array([0]))
    assert losses == 0
    np.testing.assert_array_equal(gradient, np.zeros((3, 1)))


@given(seed=st.integers(0, 10**6), classes=st.integers(2, 7), count=st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_losses_are_those_of_the_loop(seed, classes, count):
    rng = np.random.default_rng(seed)
    scores, labels = rng.normal(0, 2, size=(classes, count)), rng.integers(classes, size=count)
    for row in ROWS:
        expected = [loss_of_example(row, scores[:, n], labels[n]) for n in range(count)]
        np.testing.assert_allclose(row.losses(scores, labels), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [1, 1e30])
def test_sums_of_coordinates_are_those_of_the_losses(loss, size):
    rng = np.random.default_rng(2)
    scores, labels = rng.normal(0, 2, size=(3, 6, 30)), rng.integers(6, size=30)
    scores[1] *= size
    expected, kind = loss.losses(scores, labels).sum(axis=-1), loss.coordinates
    np.testing.assert_allclose(loss.sums(kind.counted(scores, labels, loss.offset)), expected, rtol=1e-12)
    np.testing.assert_allclose(loss.sums(kind.of(scores, labels) + loss.offset), expected, rtol=1e-12)


def test_changes_are_linear_and_what_scores_add_to_coordinates(loss):
    rng, kind = np.random.default_rng(3), loss.coordinates
    (scores, step), labels = rng.normal(size=(2, 3, 6, 30)), rng.integers(6, size=30)
    moved = kind.of(scores, labels) + 0.5 * kind.changes(step, labels)
    np.testing.assert_allclose(moved, kind.of(scores + 0.5 * step, labels), atol=1e-14)
    # and they say which examples are right
    np.testing.assert_array_equal(kind.hits(moved, labels).mean(axis=-1), accuracy(scores + 0.5 * step, labels))


def test_gradient_is_the_slope_of_the_losses(loss):
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(0, 2, size=(2, 6, 30)), rng.integers(6, size=30)
    _, gradient = loss.losses_and_gradient(scores, labels)
    for place in np.ndindex(2, 6):
        h = np.zeros((2, 6, 1))
        h[place] = 1e-6
        slope = (loss.losses(scores + h, labels) - loss.losses(scores - h, labels))[place[0]] / 2e-6
        np.testing.assert_allclose(gradient[place], slope, atol=1e-7)


def test_losses_and_gradient_give_the_same_losses(loss):
    rng = np.random.default_rng(2)
    scores, labels = rng.normal(size=(3, 4, 20)), rng.integers(4, size=20)
    np.testing.assert_array_equal(loss.losses(scores, labels), loss.losses_and_gradient(scores, labels)[0])


def test_subgradient_at_a_kink_lies_between_the_one_sided_slopes(loss):
    # given scores exactly at the hinge's kink: s_1 - s_0 + 1 = 0
    scores, labels = np.array([[2.0], [1.0], [-5.0]]), np.array([0])
    _, gradient = loss.losses_and_gradient(scores, labels)
    for j in range(3):
        h = np.zeros((3, 1))
        h[j] = 1e-7
        here = loss.losses(scores, labels)
        sides = sorted(
            [(here - loss.losses(scores - h, labels))[0] / 1e-7, (loss.losses(scores + h, labels) - here)[0] / 1e-7]
        )
        assert sides[0] - 1e-6 <= gradient[j, 0] <= sides[1] + 1e-6


def test_nan_scores_touch_only_their_own_trial(loss):
    rng = np.random.default_rng(3)
    scores, labels = rng.normal(size=(3, 4, 20)), rng.integers(4, size=20)
    spoilt = scores.copy()
    spoilt[1] = np.nan
    losses, gradient = loss.losses_and_gradient(spoilt, labels)
    clean_losses, clean_gradient = loss.losses_and_gradient(scores, labels)
    np.testing.assert_array_equal(losses[[0, 2]], clean_losses[[0, 2]])
    np.testing.assert_array_equal(gradient[[0, 2]], clean_gradient[[0, 2]])
    assert np.isnan(losses[1]).all()


def test_accuracy_takes_the_first_of_tied_scores():
    assert accuracy(np.zeros((3, 4)), np.array([0, 1, 2, 0])) == 0.5


def test_a_score_that_is_nan_is_no_hit():
    scores = np.array([[np.nan, 2.0], [np.nan, 1.0]])
    assert accuracy(scores, np.array([0, 0])) == 0.5


@pytest.mark.parametrize("name", [name for name, kind in LOSSES.items() if hasattr(kind(), "margin")])
def test_negative_margin_is_refused(name):
    with pytest.raises(ConfigError, match=r"loss\.margin must be >= 0, got -1"):
        parse_row(LOSSES, "loss", {"name": name, "margin": -1})


def test_an_example_is_right_where_the_correct_class_is_the_first_of_tied_scores(loss):
    labels, kind = np.array([0, 1, 2, 0]), loss.coordinates
    assert kind.hits(kind.of(np.zeros((3, 4)), labels), labels).tolist() == [True, False, False, True]
