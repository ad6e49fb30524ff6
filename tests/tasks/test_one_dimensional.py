from dataclasses import dataclass

import numpy as np
import pytest

from tasks.errors import ConfigError
from tasks.losses import Softmax, Svm, violations
from tasks.models import Mlp
from tasks.studies.one_dimensional import OneDimensional
from tasks.trial import Trial


def result_of(task, loss=None):
    (result,) = task.run([Trial(task=task, loss=loss or Svm())], None, threads=1)
    return result


def test_the_terms_are_those_of_the_notes():
    # Given x = (1, -2, 3) and w = (w0, 0.5, -1), as worked out by hand for w0 = 2.
    task = OneDimensional(points=(1.0, -2.0, 3.0), weights=(0.0, 0.5, -1.0), extent=2.0, resolution=5)
    arrays = result_of(task).arrays

    terms = arrays["terms"][:, :, -1]

    assert arrays["w"].tolist() == [-2, -1, 0, 1, 2]
    assert terms.tolist() == [
        [0, 0, 0],  # w1 x0 - w0 x0 + 1 = 0.5 - 2 + 1, w2 x0 - w0 x0 + 1 = -1 - 2 + 1
        [0, 0, 4],  # w0 x1 - w1 x1 + 1 = -4 + 1 + 1, w2 x1 - w1 x1 + 1 = 2 + 1 + 1
        [10, 5.5, 0],  # w0 x2 - w2 x2 + 1 = 6 + 3 + 1, w1 x2 - w2 x2 + 1 = 1.5 + 3 + 1
    ]
    assert arrays["loss"][-1] == pytest.approx((4 + 10 + 5.5) / 3)


@pytest.mark.parametrize("varied", [0, 1, 2])
def test_each_term_is_flat_or_clamped_linear_and_their_sum_piecewise_linear(varied):
    result = result_of(OneDimensional(varied=varied))
    arrays, metrics = result.arrays, result.metrics
    terms = arrays["terms"].reshape(9, -1)
    bends = np.abs(np.diff(terms, 2, axis=-1)) > 1e-9
    flat = np.ptp(terms, axis=-1) == 0

    # The two terms without the varied weight, and the three that are none, are flat; a kink is one or two bends wide.
    assert flat.sum() == 5
    assert bends.sum(axis=-1).max() <= 2
    assert bends[~flat].any(axis=-1).all()
    loss_bends = np.diff(arrays["loss"], 2)
    assert loss_bends.min() > -1e-9
    np.testing.assert_array_equal(loss_bends > 1e-9, bends.any(axis=0))
    assert metrics["landscape/lowest_loss"] == arrays["loss"].min() < metrics["landscape/highest_loss"]
    assert metrics["landscape/highest_loss"] == arrays["loss"].max()


def test_a_margin_moves_the_kinks():
    one, two = (result_of(OneDimensional(), Svm(margin=m)).arrays["terms"] for m in (1.0, 2.0))

    inside = (one > 0) & (two > 0)
    assert inside.any()
    assert ((one == 0) & (two > 0)).any(), "a kink has moved"
    np.testing.assert_allclose((two - one)[inside], 1.0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"points": (1.0,), "weights": (1.0,)}, r"task\.points must be 2 to 10 numbers"),
        ({"points": (1.0,) * 11, "weights": (1.0,) * 11}, r"task\.points must be 2 to 10 numbers"),
        ({"weights": (1.0, 2.0)}, r"task\.weights must be 3 numbers, one for each of task\.points, got \[1\.0, 2\.0\]"),
        ({"varied": 3}, r"task\.varied must be a class, 0 to 2, got 3"),
        ({"extent": 0.0}, r"task\.extent must be > 0, got 0\.0"),
        ({"resolution": 1}, r"task\.resolution must be >= 2"),
    ],
)
def test_bad_fields_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        OneDimensional(**fields)


@dataclass(frozen=True, kw_only=True)
class Hinges(Softmax):
    """A loss of another class with terms of the SVM's form."""

    offset = 2.0

    def terms(self, scores, labels):
        return violations(scores, labels, self.offset)


def test_a_loss_of_another_class_with_such_terms_has_its_terms_shown(small_dataset):
    task = OneDimensional()
    task.check(Trial(task=task, loss=Hinges()), small_dataset)

    np.testing.assert_array_equal(
        result_of(task, Hinges()).arrays["terms"], result_of(task, Svm(margin=2.0)).arrays["terms"]
    )


def test_another_loss_and_another_model_are_refused(small_dataset):
    task = OneDimensional()
    with pytest.raises(ConfigError, match=r"loss must be svm, or another with such terms, .* got 'softmax'"):
        task.check(Trial(task=task, loss=Softmax()), small_dataset)
    with pytest.raises(ConfigError, match=r"model must be linear for task=one_dimensional, .* got 'mlp'"):
        task.check(Trial(task=task, model=Mlp()), small_dataset)
    task.check(Trial(task=task), small_dataset)
