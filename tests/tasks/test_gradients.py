import numpy as np
import pytest

from tasks.losses import LOSSES
from tasks.score_space.gradient import loss_changes
from tests.tasks.plain import numerical_gradient


@pytest.mark.parametrize("h", [1e-5, 1e-3])
@pytest.mark.parametrize("loss", [kind() for kind in LOSSES.values()], ids=list(LOSSES))
def test_score_space_takes_the_differences_of_the_plain_loop(loss, h):
    # given raw pixels, so that with the larger step many hinges are crossed
    rng = np.random.default_rng(5)
    features = np.concatenate([rng.integers(0, 256, size=(40, 7)) - 127.5, np.ones((40, 1))], axis=1)
    labels, weights = rng.integers(4, size=40), rng.normal(0, 1e-2, size=(4, 8))
    # when every weight is stepped, one at a time
    here = loss.losses(weights @ features.T, labels).sum()

    def change(c, d, step):
        moved = weights.copy()
        moved[c, d] += step
        return loss.losses(moved @ features.T, labels).sum() - here

    ahead = np.array([[change(c, d, h) for d in range(8)] for c in range(4)])
    behind = np.array([[change(c, d, -h) for d in range(8)] for c in range(4)])
    # then the same differences come from the scores alone
    differences = loss_changes(loss.losses, weights @ features.T, features, labels, h=h)
    np.testing.assert_allclose(differences.ahead, ahead, atol=1e-11)
    np.testing.assert_allclose(differences.behind, behind, atol=1e-11)


def test_kinks_are_counted_where_a_hinge_is_crossed():
    # given one example at 3e-4 before its hinge, and features that move score 1 by h, 10 h and 100 h
    features, labels = np.array([[1.0, 10.0, 100.0]]), np.array([0])
    scores = np.array([[1.0], [-3e-4]])
    differences = loss_changes(LOSSES["svm"]().losses, scores, features, labels, h=1e-4)
    np.testing.assert_array_equal(differences.kinks, [[0, 1, 1], [0, 1, 1]])
    np.testing.assert_allclose(differences.ahead[1], [0, 7e-4, 97e-4], atol=1e-12)


def test_the_loss_is_a_black_box():
    # given a loss that no formula here knows, with kinks of its own
    def losses(scores, labels):
        return np.abs(np.sin(scores)).sum(axis=0) + np.cos(scores[labels, np.arange(len(labels))])

    rng = np.random.default_rng(6)
    features, labels = rng.normal(size=(30, 6)), rng.integers(3, size=30)
    weights = rng.normal(size=(3, 6))
    differences = loss_changes(losses, weights @ features.T, features, labels, h=1e-3)
    gradient = numerical_gradient(lambda w: losses(w @ features.T, labels).sum(), weights, h=1e-3)
    np.testing.assert_allclose((differences.ahead - differences.behind) / 2e-3, gradient, atol=1e-8)
