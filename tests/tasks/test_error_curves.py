import numpy as np
import pytest

from tasks.studies.error_curves import best_h, truncation_slope


def test_the_slope_is_fitted_where_truncation_rules():
    # Given errors with a known truncation and rounding part, and higher terms beyond h = 0.1.
    h = np.logspace(-12, 0, 121)
    for order in (1, 2):
        errors = 0.3 * h**order + 1e-14 / h + 5 * h ** (order + 3)
        slope, (first, last) = truncation_slope(h, errors, limit=0.1)
        assert slope == pytest.approx(order, abs=0.03)
        assert best_h(h, errors) < first < last <= 0.1


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("knee", [1e-2, 1e-1, 10.0])
def test_without_a_limit_the_range_ends_where_the_curve_bends(order, knee):
    # Given the same, with higher terms that are equal to the first one at an h that nobody names.
    h = np.logspace(-12, 3, 121)
    errors = h**order + 1e-14 / h + h ** (order + 2) / knee**2
    slope, (_, last) = truncation_slope(h, errors, limit=None)

    assert slope == pytest.approx(order, abs=0.05)
    assert 0.2 * knee < last < knee


def test_a_curve_that_is_straight_for_less_than_a_decade_has_no_slope():
    h = np.logspace(-6, 0, 61)
    errors = np.where(h < 1e-3, 1e-3 * (1e-3 / h), 10 ** np.round(4 * np.log10(h)))  # stairs, as of kinks
    slope, fitted = truncation_slope(h, errors, limit=None)

    assert np.isnan(slope)
    assert np.isnan(fitted).all()


def test_without_a_truncation_range_there_is_no_slope():
    h = np.logspace(-12, 0, 13)
    slope, fitted = truncation_slope(h, 1e-14 / h, limit=0.1)

    assert np.isnan(slope)
    assert np.isnan(fitted).all()


def test_the_truncation_range_begins_above_the_best_h_and_ends_at_the_limit():
    h = np.array([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    assert best_h(h, h**2) == 1e-3
    slope, fitted = truncation_slope(h, h**2, limit=1.0)
    assert slope == pytest.approx(2)
    np.testing.assert_array_equal(fitted, [1e-2, 1.0])
    # and where the first h is the best, no rounding is measured below it
    _, fitted = truncation_slope(np.arange(1.0, 7.0), np.array([3.0, 1, 2, 4, 8, 16]), limit=6.0)
    np.testing.assert_array_equal(fitted, [2.0, 6.0])


def test_errors_that_are_no_numbers_are_the_largest():
    errors = np.array([3.0, 2, 1, 2, 3, np.inf, np.nan, np.nan, np.nan])
    assert best_h(np.arange(1.0, 10.0), errors) in {2.0, 4.0}
