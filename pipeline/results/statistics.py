"""The statistics of repeats: a mean and its interval, a difference of two means, and the repeats needed to show it.

SciPy is imported where it is used, since that takes a second.
"""

from __future__ import annotations

import bisect
import functools
import math
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
"""The confidence level of every interval; one minus the significance level of every test."""

POWER = 0.8
"""The power of a test: the probability that it shows a real difference. Convention of Cohen (1988), section 2.4."""

_RESAMPLES = 9999  # the percentiles of 95 % then have a standard error below 2 % of the interval
_AT_ONCE = 32  # settings whose resamples are in memory at once
MOST_REPEATS = 10_000

_RESAMPLED = 200
"""The number of values from which on an interval is Student's. The bootstrap's then differs by a few hundredths of its
width, and takes a tenth of a second for each thousand values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Statistics of repeats: their number, mean, standard deviation, and the 95 % interval of the mean.

    The deviation is of a sample (divided by ``count - 1``). One value has no deviation and no interval (NaN).
    """

    count: int
    mean: float
    deviation: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanDifference:
    """The difference of two means, with its 95 % interval and its significance.

    ``improvement`` is the probability that a repeat of the first is above one of the second. ``p`` is the two-sided
    p-value. ``repeats`` is about how many repeats would show a difference of this size, infinity for none. ``count``
    is the number of pairs, or, if the repeats are not ``paired``, of the repeats of the setting that has fewer.
    """

    mean: float
    low: float
    high: float
    improvement: float
    p: float
    repeats: float
    count: int
    paired: bool


def summarize(values: Sequence[float]) -> Summary:
    """Return the summary of repeats.

    The interval of the mean is a bias-corrected and accelerated bootstrap, and of 200 values or more Student's. Source:
    Efron (1987), Better bootstrap confidence intervals, JASA 82, by `scipy.stats.bootstrap`.

    >>> summarize([1.0, 2.0, 3.0]).mean, summarize([1.0, 2.0, 3.0]).deviation, summarize([1.0]).low
    (2.0, 1.0, nan)
    """
    return _summary(tuple(map(float, values)))


def summarize_each(every: Sequence[Sequence[float]]) -> list[Summary]:
    """Return `summarize` of each; one bootstrap of many takes a tenth of the time of a bootstrap each."""
    groups: dict[int, list[int]] = {}
    for place, values in enumerate(every):
        groups.setdefault(len(values), []).append(place)
    found: dict[int, Summary] = {}
    for count, places in groups.items():
        ends = _intervals(np.array([every[place] for place in places], dtype=float).reshape(len(places), count))
        for place, (low, high) in zip(places, ends.tolist(), strict=True):
            found[place] = _summary_of(every[place], low, high)
    return [found[place] for place in range(len(every))]


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the deviation of `summarize`, without its interval, which takes long."""
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return statistics.fmean(values) if values else math.nan, deviation


@functools.lru_cache(maxsize=100_000)
def _summary(values: tuple[float, ...]) -> Summary:
    return summarize_each([values])[0]


def _summary_of(values: Sequence[float], low: float, high: float) -> Summary:
    mean, deviation = spread(values)
    # The ends of equal values are their mean, but for its last bit: NumPy adds in another order.
    return Summary(count=len(values), mean=mean, deviation=deviation, low=min(low, mean), high=max(high, mean))


def paired(
    ones: Sequence[float], others: Sequence[float], *, tests: int = 1, rounding: float = math.inf
) -> MeanDifference:
    """Return the difference of paired values: of two settings, with one seed a pair.

    Noise that the values of a pair share, such as their minibatches, cancels. ``p`` is that of the paired t-test,
    multiplied by ``tests``, the number of pairs of settings that the two were picked from (Bonferroni: Dunn (1961),
    Multiple comparisons among means, JASA 56). ``improvement`` is the share of pairs in which the first is above; ties
    count half. The variance of the differences is at least twice that of rounding (`rounding_of` these values, or
    ``rounding`` of more of them if it is less): three pairs that all differ by one example prove nothing.
    """
    from scipy import stats  # noqa: PLC0415

    gaps, count = np.subtract(ones, others), len(ones)
    mean = float(np.mean(gaps))
    low, high = _intervals(gaps[None])[0].tolist()
    variance = max(float(np.var(gaps, ddof=1)), 2 * min(rounding, rounding_of([*ones, *others])))
    p = 2 * float(stats.t.sf(abs(mean) * math.sqrt(count / variance), count - 1)) if variance else 1.0
    return MeanDifference(
        mean=mean,
        low=low,
        high=high,
        improvement=float(np.mean((gaps > 0) + 0.5 * (gaps == 0))),
        p=min(1.0, p * tests),
        repeats=repeats_needed(mean, variance, 0.0, tests=tests),
        count=count,
        paired=True,
    )


def unpaired(
    ones: Sequence[float], others: Sequence[float], *, tests: int = 1, rounding: float = math.inf
) -> MeanDifference:
    """Return the difference of two independent samples; as `paired` otherwise.

    ``p`` is that of Welch's t-test, which does not assume equal variances. ``improvement`` is the share of all pairs in
    which the first is above; ties count half. It is Mann and Whitney's U over the number of pairs, which Agarwal et al.
    (2021), Deep reinforcement learning at the edge of the statistical precipice, call probability of improvement.
    """
    from scipy import stats  # noqa: PLC0415

    x, y = np.asarray(ones, dtype=float), np.asarray(others, dtype=float)
    mean = float(np.mean(x) - np.mean(y))
    low, high = _interval_of_difference(x, y)
    least = min(rounding, rounding_of([*ones, *others]))
    one, other = (max(float(np.var(values, ddof=1)), least) for values in (x, y))
    moments = (np.mean(x), math.sqrt(one), len(x), np.mean(y), math.sqrt(other), len(y))
    p = float(stats.ttest_ind_from_stats(*moments, equal_var=False).pvalue) if one + other else 1.0
    return MeanDifference(
        mean=mean,
        low=low,
        high=high,
        improvement=float(np.mean((x[:, None] > y) + 0.5 * (x[:, None] == y))),
        p=min(1.0, p * tests),
        repeats=repeats_needed(mean, one, other, tests=tests),
        count=min(len(x), len(y)),
        paired=False,
    )


def repeats_needed(mean: float, one: float, other: float, *, tests: int = 1) -> float:
    """Return how many repeats of each show a difference of ``mean`` with `POWER`, corrected for ``tests``.

    ``one`` and ``other`` are the two variances; for pairs, that of the differences and 0. The power of a t-test is that
    of the noncentral t distribution (Cohen (1988), Statistical power analysis for the behavioral sciences, chapter 2;
    the degrees of freedom of unequal variances are Welch's). A number above `MOST_REPEATS` is infinity.

    >>> repeats_needed(0.5, 1.0, 0.0)
    34.0
    """
    variance = one + other
    if mean == 0 or not math.isfinite(mean) or not math.isfinite(variance):
        return math.inf
    if variance == 0:
        return 2.0
    freedom = 1 / ((one / variance) ** 2 + (other / variance) ** 2)  # times count - 1; 1 for pairs
    counts = range(2, MOST_REPEATS + 1)
    place = bisect.bisect_left(counts, True, key=lambda count: _shows(mean, variance, freedom, count, tests))
    return float(counts[place]) if place < len(counts) else math.inf


def _shows(mean: float, variance: float, freedom: float, count: int, tests: int) -> bool:
    """Return whether ``count`` repeats show a difference of means with `POWER`."""
    from scipy import stats  # noqa: PLC0415

    degrees = freedom * (count - 1)
    bound = stats.t.isf((1 - LEVEL) / 2 / tests, degrees)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # SciPy's series may not converge in the far tail
        power = stats.nct.sf(bound, degrees, abs(mean) * math.sqrt(count / variance))
    # SciPy's noncentral t is NaN there: the expected t is compared with the bound.
    return bool(power >= POWER if math.isfinite(power) else abs(mean) * math.sqrt(count / variance) > bound)


def _intervals(data: np.ndarray) -> np.ndarray:
    """Return the ends ``(K, 2)`` of the interval of the mean of each row ``(K, n)``; NaN for fewer than two values."""
    ends = np.full((len(data), 2), math.nan)
    if data.shape[1] < 2:
        return ends
    if data.shape[1] >= _RESAMPLED:
        return students(data.mean(axis=1), data.var(axis=1, ddof=1) / data.shape[1], data.shape[1] - 1)
    from scipy import stats  # noqa: PLC0415  # takes half a second, which a sweep without repeats need not

    spread = np.ptp(data, axis=1) > np.array([_tiny(row) for row in data])
    ends[~spread] = data[~spread].mean(axis=1, keepdims=True)
    places = np.flatnonzero(spread)
    for rows in (places[begin : begin + _AT_ONCE] for begin in range(0, len(places), _AT_ONCE)):
        rng = np.random.default_rng(0)  # so that the same values have the same interval
        options = {"confidence_level": LEVEL, "method": "BCa", "n_resamples": _RESAMPLES, "axis": 1, "rng": rng}
        found = stats.bootstrap((data[rows],), np.mean, **options).confidence_interval
        ends[rows] = np.column_stack([found.low, found.high])
    return ends


def _interval_of_difference(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    if max(np.ptp(x), np.ptp(y)) <= _tiny(np.concatenate([x, y])):
        return float(x.mean() - y.mean()), float(x.mean() - y.mean())
    fewer = min(len(x), len(y))
    if fewer >= _RESAMPLED:
        variance = x.var(ddof=1) / len(x) + y.var(ddof=1) / len(y)
        low, high = students(np.array([x.mean() - y.mean()]), np.array([variance]), fewer - 1)[0].tolist()
        return low, high
    from scipy import stats  # noqa: PLC0415

    rng = np.random.default_rng(0)
    options = {"confidence_level": LEVEL, "method": "BCa", "n_resamples": _RESAMPLES, "rng": rng}
    found = stats.bootstrap((x, y), lambda one, other, axis: one.mean(axis) - other.mean(axis), **options)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def students(means: np.ndarray, variances: np.ndarray, degrees: int) -> np.ndarray:
    """Return the ends ``(K, 2)`` of Student's intervals of means ``(K,)`` that have these variances."""
    from scipy import special  # noqa: PLC0415  # takes half the time of `scipy.stats`

    half = special.stdtrit(degrees, (1 + LEVEL) / 2) * np.sqrt(variances)
    return np.column_stack([means - half, means + half])


def rounding_of(values: Sequence[float]) -> float:
    """Return the variance of rounding to multiples of a step ``q``, ``q ** 2 / 12`` (Sheppard (1898)).

    The step is the greatest common divisor of all differences of the values, by Euclid's algorithm: an accuracy on N
    examples has steps of 1 / N. For values without a step it is close to 0. Of few values the step may be too large.

    >>> round(rounding_of([0.5, 0.8, 1.0]) * 12, 6)
    0.01
    """
    exact = 1e-6 * float(np.max(np.abs(values), initial=0.0))
    step = 0.0
    for gap in np.diff(np.unique(values)).tolist():
        while gap > exact:
            step, gap = gap, abs(math.remainder(step, gap))  # noqa: PLW2901  # as Euclid does
    return step**2 / 12


def _tiny(values: np.ndarray) -> float:
    """Return the spread of such values up to which it is rounding."""
    return 1e-12 * float(np.max(np.abs(values), initial=0.0))
