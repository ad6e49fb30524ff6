"""The statistics of repeats against numbers worked by hand, published ones, and SciPy's own."""

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.results.statistics import Summary, paired, repeats_needed, summarize, summarize_each, unpaired


def test_a_summary_is_the_mean_and_the_deviation_of_a_sample():
    # by hand: mean 5, squares 9 + 1 + 1 + 9 = 20, 20 / 3
    summary = summarize([2.0, 4.0, 6.0, 8.0])

    assert (summary.count, summary.mean) == (4, 5.0)
    assert summary.deviation == pytest.approx(math.sqrt(20 / 3))
    assert summary.low < 5.0 < summary.high


def test_the_interval_is_scipys_bca_bootstrap_and_the_same_each_time():
    values = np.random.default_rng(3).normal(size=12).tolist()

    found = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=9999, rng=np.random.default_rng(0))

    summary = summarize(values)
    assert (summary.low, summary.high) == tuple(found.confidence_interval)
    assert summary == summarize(values)


def test_the_interval_of_equal_values_holds_their_mean_to_the_last_bit():
    every = [summarize([share / 20] * count) for share in range(1, 20) for count in range(2, 12)]

    assert [one for one in every if not one.low <= one.mean <= one.high] == []


def test_the_interval_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)

    covered = [s.low <= 1.0 <= s.high for s in (summarize(rng.exponential(size=20)) for _ in range(300))]

    assert 0.88 < np.mean(covered) < 0.98


@pytest.mark.parametrize("count", [199, 200])
def test_of_many_values_the_interval_is_students_which_is_then_the_bootstraps_but_for_hundredths(count):
    values = np.random.default_rng(3).exponential(size=count)
    others = np.random.default_rng(4).exponential(size=count)

    found = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=9999, rng=np.random.default_rng(0))
    difference = unpaired(values.tolist(), others.tolist())

    low, high = found.confidence_interval
    summary, width = summarize(values.tolist()), high - low
    assert ((summary.low, summary.high) == (low, high)) is (count < 200)
    assert (summary.low, summary.high) == pytest.approx((low, high), abs=0.08 * width)
    assert difference.high - difference.low == pytest.approx(width * 2**0.5, rel=0.15)
    assert (difference.low + difference.high) / 2 == pytest.approx(difference.mean, abs=0.08 * width)
    half = stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / count**0.5
    assert count < 200 or (summary.high - summary.mean, summary.mean - summary.low) == pytest.approx((half, half))


def test_many_are_summarized_at_once_as_one_by_one():
    rng = np.random.default_rng(5)
    every = [rng.normal(size=count).tolist() for count in (5, 3, 5, 1, 0, 5)] + [[0.5] * 5]

    assert list(map(str, summarize_each(every))) == list(map(str, map(summarize, every)))


def test_few_values_have_what_can_be_said_of_them():
    assert str(summarize([])) == str(Summary(count=0, mean=math.nan, deviation=math.nan, low=math.nan, high=math.nan))
    one = summarize([0.5])
    assert (one.count, one.mean) == (1, 0.5)
    assert math.isnan(one.deviation)
    assert math.isnan(one.low)
    alike = summarize([0.1, 0.1, 0.1])
    assert (alike.deviation, alike.low, alike.high) == (0.0, pytest.approx(0.1), pytest.approx(0.1))


def test_a_paired_difference_by_hand():
    # differences 1, 0.5, 0.5, 1, -0: mean 0.6; deviation sqrt((.16 + .01 + .01 + .16 + .36) / 4)
    found = paired([2.0, 2.0, 3.0, 4.0, 1.0], [1.0, 1.5, 2.5, 3.0, 1.0])

    deviation = math.sqrt(0.7 / 4)
    assert found.mean == pytest.approx(0.6)
    assert found.improvement == 0.9  # four ahead, one tie
    assert found.p == pytest.approx(2 * stats.t.sf(0.6 / (deviation / math.sqrt(5)), 4))
    assert found.low < 0.6 < found.high
    assert (found.count, found.paired) == (5, True)


def test_pairs_show_what_samples_hide():
    # given seeds that matter much more than the settings do
    seeds = np.random.default_rng(0).normal(size=6)
    ones, others = seeds + 0.1 + 0.01 * np.sin(np.arange(6)), seeds

    assert paired(ones, others).p == pytest.approx(stats.ttest_rel(ones, others).pvalue)
    assert paired(ones, others).p < 1e-5
    assert unpaired(ones, others).p == pytest.approx(stats.ttest_ind(ones, others, equal_var=False).pvalue)
    assert unpaired(ones, others).p > 0.5


@pytest.mark.parametrize("others", [[11.0, 12.0, 13.0], [1.0, 30.0, 60.0, 20.0]])
def test_samples_of_equal_variances_and_of_others_are_compared_by_welchs_test(others):
    ones = [1.0, 2.0, 3.0]

    assert unpaired(ones, others).p == pytest.approx(stats.ttest_ind(ones, others, equal_var=False).pvalue)


@pytest.mark.parametrize(("count", "other"), [(7, 4), (300, 4)])
def test_the_interval_of_a_difference_of_samples_is_scipys_bca_bootstrap_where_either_is_small(count, other):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=count), rng.normal(size=other)

    found = stats.bootstrap(
        (x, y), lambda a, b, axis: a.mean(axis) - b.mean(axis), n_resamples=9999, rng=np.random.default_rng(0)
    )

    difference = unpaired(x.tolist(), y.tolist())
    assert (difference.low, difference.high) == tuple(found.confidence_interval)


def test_the_interval_of_a_difference_of_many_is_students_with_the_degrees_of_the_fewer():
    x, y = (np.random.default_rng(2).normal(size=count) for count in (300, 200))

    found = unpaired(x.tolist(), y.tolist())

    half = stats.t.ppf(0.975, 199) * math.sqrt(x.var(ddof=1) / 300 + y.var(ddof=1) / 200)
    assert (found.low, found.high) == pytest.approx((x.mean() - y.mean() - half, x.mean() - y.mean() + half))


@pytest.mark.parametrize("compare", [paired, unpaired])
@pytest.mark.parametrize("unit", [1e-4, 1e4])
def test_the_unit_of_a_metric_changes_no_answer(compare, unit):
    ones, others = np.array([277, 276, 277, 279]) / 287, np.array([276, 275, 276, 278]) / 287

    found, scaled = compare(ones, others), compare(unit * ones, unit * others)

    assert scaled.p == pytest.approx(found.p)
    assert (scaled.repeats, scaled.improvement) == (found.repeats, found.improvement)


def test_the_probability_of_improvement_of_samples_is_mann_and_whitneys():
    ones, others = [3.0, 5.0, 5.0, 8.0], [1.0, 5.0, 6.0]

    found = unpaired(ones, others)

    # by hand: 3 beats 1; 5 beats 1 and ties 5, twice; 8 beats all
    assert found.improvement == (1 + 1.5 + 1.5 + 3) / 12
    assert found.improvement == stats.mannwhitneyu(ones, others).statistic / 12
    assert (found.count, found.paired) == (3, False)
    assert found.low < found.mean < found.high


@pytest.mark.parametrize("compare", [paired, unpaired])
def test_values_without_a_spread_are_alike_or_not(compare):
    same, other = compare([0.3, 0.3], [0.3, 0.3]), compare([0.3, 0.3], [0.2, 0.2])

    assert (same.p, same.mean, same.improvement, same.repeats) == (1.0, 0.0, 0.5, math.inf)
    assert other.improvement == 1.0
    assert other.p > 0.05  # two repeats one step of rounding apart prove nothing
    assert other.low == pytest.approx(other.high) == pytest.approx(0.1)
    nothing = compare([0.0, 0.0], [0.0, 0.0])
    assert (nothing.p, nothing.low, nothing.high) == (1.0, 0.0, 0.0)
    half = compare([0.5, 0.5, 0.5], [0.1, 0.2, 0.4])
    assert half.low < half.mean < half.high


def test_pairs_that_are_all_one_example_apart_are_no_proof():
    # given accuracies on 287 examples, each pair one example apart
    ones, others = np.array([277, 276, 277]) / 287, np.array([276, 275, 276]) / 287

    found = paired(ones, others, tests=28)

    # by hand: the variance of the differences is that of rounding, twice 1 / 12 of a squared step
    assert found.p == pytest.approx(min(1.0, 28 * 2 * stats.t.sf(math.sqrt(3 * 6), 2)))
    assert found.p == 1.0
    assert found.repeats == repeats_needed(1 / 287, (1 / 287) ** 2 / 6, 0.0, tests=28)


@pytest.mark.parametrize("compare", [paired, unpaired])
def test_p_counts_the_comparison_as_one_of_many(compare):
    ones, others = [0.5, 0.7, 0.6, 0.8], [0.4, 0.5, 0.6, 0.5]

    assert compare(ones, others, tests=3).p == pytest.approx(3 * compare(ones, others).p)
    assert compare(ones, others, tests=1000).p == 1.0
    assert compare(ones, others, tests=1000).repeats > compare(ones, others).repeats


@pytest.mark.parametrize(
    ("effect", "in_pairs", "as_samples"),
    # Cohen (1988), tables 2.4.1 (samples, two-sided 5 %, power 0.8); G*Power 3.1 for pairs
    [(0.2, 199, 394), (0.5, 34, 64), (0.8, 15, 26), (1.2, 8, 12)],
)
def test_how_many_repeats_are_needed_is_what_the_tables_say(effect, in_pairs, as_samples):
    assert repeats_needed(effect, 1.0, 0.0) == in_pairs
    assert repeats_needed(-effect, 1.0, 1.0) == as_samples


@pytest.mark.parametrize("effect", [0.5, 2.0])
def test_so_many_repeats_do_show_it_and_one_fewer_do_not(effect):
    # given a difference of so many deviations, corrected for the 45 pairs of ten settings
    count = int(repeats_needed(effect, 1.0, 0.0, tests=45))

    def power(n):
        return stats.nct.sf(stats.t.isf(0.025 / 45, n - 1), n - 1, effect * math.sqrt(n))

    assert power(count) >= 0.8 > power(count - 1)


@pytest.mark.parametrize(("one", "other"), [(1.0, 9.0), (5.0, 5.0)])
def test_so_many_repeats_of_each_show_a_difference_about_as_often_as_wanted(one, other):
    count = int(repeats_needed(3.0, one, other, tests=1000))

    rng = np.random.default_rng(0)
    ones, others = rng.normal(3, one**0.5, (4000, count)), rng.normal(0, other**0.5, (4000, count))
    shown = 1000 * stats.ttest_ind(ones, others, axis=1, equal_var=False).pvalue < 0.05

    assert 0.77 < shown.mean() < 0.86


def test_what_is_too_small_to_be_shown_needs_more_than_any():
    assert repeats_needed(0.0, 1.0, 0.0) == math.inf
    assert repeats_needed(1e-4, 1.0, 0.0) == math.inf
    assert repeats_needed(0.028, 1.0, 0.0) == math.inf  # (1.96 + 0.84)^2 / 0.028^2 = 10,011 and three more
    assert repeats_needed(0.0281, 1.0, 0.0) == pytest.approx(9943, abs=2)
    assert repeats_needed(100.0, 1.0, 0.0, tests=435) <= 4
    assert repeats_needed(1.0, 0.0, 0.0) == 2


def test_a_difference_far_beyond_its_noise_is_shown_by_two_repeats_without_a_warning():
    assert repeats_needed(1.0, 5.569386810296422e-13, 0.0, tests=124_750) == 2.0


def test_the_unit_of_a_metric_does_not_matter_to_how_many_repeats_are_needed():
    assert repeats_needed(1e80, 1e160, 1e160) == repeats_needed(1.0, 1.0, 1.0)
