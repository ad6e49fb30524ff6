"""The statistics of repeats: a mean and its interval, a difference of two means, and how many repeats would tell.

SciPy computes what it has, and is imported where it is used: it takes a second.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
"""The confidence of every interval, and one minus how often a test may err."""

POWER = 0.8
"""How probable it is to be that a real difference shows: the convention of Cohen (1988), section 2.4."""

_RESAMPLES = 9999  # the percentiles of 95 % then have a standard error below 2 % of the interval
_AT_ONCE = 32  # settings whose resamples are in memory together
MOST_REPEATS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Repeats of one value: how many, their mean, their standard deviation, and the 95 % interval of the mean.

    The deviation is of a sample (divided by ``count - 1``). One value has no deviation and no interval (NaN).
    """

    count: int
    mean: float
    deviation: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much a mean is above another: the difference with its 95 % interval, and what speaks for it.

    ``improvement`` is the probability that a repeat of the one is above one of the other, ``p`` the probability of
    such a difference, or a larger one to either side, between equals, and ``repeats`` about how many repeats would show
    a difference as large as this one, infinity where it is none. ``count`` is how many pairs there are, or, where the
    repeats are not ``paired``, how many of the setting that has fewer.
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

    The interval is the bias-corrected and accelerated bootstrap's of the mean. Source: Efron (1987), Better bootstrap
    confidence intervals, JASA 82, as `scipy.stats.bootstrap` has it.

    >>> summarize([1.0, 2.0, 3.0]).mean, summarize([1.0, 2.0, 3.0]).deviation, summarize([1.0]).low
    (2.0, 1.0, nan)
    """
    return _summary(tuple(map(float, values)))


def summarize_each(every: Sequence[Sequence[float]]) -> list[Summary]:
    """Return `summarize` of each; the bootstrap of many at once takes a tenth of the time of one after another."""
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
    return Summary(count=len(values), mean=mean, deviation=deviation, low=low, high=high)


def paired(ones: Sequence[float], others: Sequence[float], *, tests: int = 1) -> Difference:
    """Return the difference of values that stand in pairs: of two settings with one seed each.

    What the pairs have in common, such as their minibatches, cancels. ``p`` is the t-test's of the differences,
    multiplied by ``tests``, the number of pairs of settings that the two were picked from (Bonferroni: Dunn (1961),
    Multiple comparisons among means, JASA 56). ``improvement`` is the share of pairs in which the first is above, ties
    by half. The variance of the differences is not taken to be less than that of rounding (`_rounding`), twice: three
    pairs that are all one example apart are no proof.
    """
    from scipy import stats  # noqa: PLC0415

    gaps, count = np.subtract(ones, others), len(ones)
    mean = float(np.mean(gaps))
    low, high = _intervals(gaps[None])[0].tolist()
    variance = max(float(np.var(gaps, ddof=1)), 2 * _rounding(np.concatenate([ones, others])))
    p = 2 * float(stats.t.sf(abs(mean) * math.sqrt(count / variance), count - 1)) if variance else 1.0
    return Difference(
        mean=mean,
        low=low,
        high=high,
        improvement=float(np.mean((gaps > 0) + 0.5 * (gaps == 0))),
        p=min(1.0, p * tests),
        repeats=repeats_needed(mean, variance, 0.0, tests=tests, paired=True),
        count=count,
        paired=True,
    )


def unpaired(ones: Sequence[float], others: Sequence[float], *, tests: int = 1) -> Difference:
    """Return the difference of values that have nothing in common: as `paired`, but for two samples.

    ``p`` is that of Welch's t-test, which does not take the variances to be equal. ``improvement`` is the share of all
    pairs in which the first is above, ties by half: Mann and Whitney's U over the number of pairs, which Agarwal et al.
    (2021), Deep reinforcement learning at the edge of the statistical precipice, call probability of improvement.
    """
    from scipy import stats  # noqa: PLC0415

    x, y = np.asarray(ones, dtype=float), np.asarray(others, dtype=float)
    mean = float(np.mean(x) - np.mean(y))
    low, high = _interval_of_difference(x, y)
    least = _rounding(np.concatenate([x, y]))
    one, other = (max(float(np.var(values, ddof=1)), least) for values in (x, y))
    moments = (np.mean(x), math.sqrt(one), len(x), np.mean(y), math.sqrt(other), len(y))
    p = float(stats.ttest_ind_from_stats(*moments, equal_var=False).pvalue) if one + other else 1.0
    return Difference(
        mean=mean,
        low=low,
        high=high,
        improvement=float(np.mean((x[:, None] > y) + 0.5 * (x[:, None] == y))),
        p=min(1.0, p * tests),
        repeats=repeats_needed(mean, one, other, tests=tests, paired=False),
        count=min(len(x), len(y)),
        paired=False,
    )


def repeats_needed(mean: float, one: float, other: float, *, tests: int = 1, paired: bool) -> float:
    """Return how many repeats, each, show a difference of ``mean`` four times in five, corrected for ``tests``.

    ``one`` and ``other`` are the variances of the two, in pairs that of the differences and 0. The power of a t-test is
    that of the noncentral t distribution (Cohen (1988), Statistical power analysis for the behavioral sciences, chapter
    2; the degrees of freedom of unequal variances are Welch's). What is above `MOST_REPEATS` is infinity.

    >>> repeats_needed(0.5, 1.0, 0.0, paired=True)
    34.0
    """
    variance = one + other
    if mean == 0 or not math.isfinite(mean) or not math.isfinite(variance):
        return math.inf
    if variance == 0:
        return 2.0
    freedom = 1.0 if paired else variance**2 / (one**2 + other**2)  # times count - 1
    low, high = 1, 2
    while not _shows(mean, variance, freedom, high, tests):
        low, high = high, 2 * high
        if low >= MOST_REPEATS:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _shows(mean, variance, freedom, middle, tests) else (middle, high)
    return float(high)


def _shows(mean: float, variance: float, freedom: float, count: int, tests: int) -> bool:
    """Return whether so many repeats show a difference of means with `POWER`."""
    from scipy import stats  # noqa: PLC0415

    degrees = freedom * (count - 1)
    bound = stats.t.isf((1 - LEVEL) / 2 / tests, degrees)
    power = stats.nct.sf(bound, degrees, abs(mean) * math.sqrt(count / variance))
    # Far out SciPy's noncentral t has no number; there the bound alone decides.
    return bool(power >= POWER if math.isfinite(power) else abs(mean) * math.sqrt(count / variance) > bound)


def _intervals(data: np.ndarray) -> np.ndarray:
    """Return the ends ``(K, 2)`` of the interval of the mean of each row ``(K, n)``; NaN of fewer than two values."""
    from scipy import stats  # noqa: PLC0415

    ends = np.full((len(data), 2), math.nan)
    if data.shape[1] < 2:
        return ends
    spread = np.ptp(data, axis=1) > np.array([_tiny(row) for row in data])
    ends[~spread] = data[~spread].mean(axis=1, keepdims=True)
    for rows in np.array_split(np.flatnonzero(spread), -(-int(spread.sum()) // _AT_ONCE) or 1):
        if len(rows):
            rng = np.random.default_rng(0)  # the same values have the same interval
            options = {"confidence_level": LEVEL, "method": "BCa", "n_resamples": _RESAMPLES, "axis": 1, "rng": rng}
            found = stats.bootstrap((data[rows],), np.mean, **options).confidence_interval
            ends[rows] = np.column_stack([found.low, found.high])
    return ends


def _interval_of_difference(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    from scipy import stats  # noqa: PLC0415

    def difference(one: np.ndarray, other: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(np.mean(one, axis=axis) - np.mean(other, axis=axis))

    if max(np.ptp(x), np.ptp(y)) <= _tiny(np.concatenate([x, y])):
        return float(x.mean() - y.mean()), float(x.mean() - y.mean())
    rng = np.random.default_rng(0)
    found = stats.bootstrap((x, y), difference, confidence_level=LEVEL, method="BCa", n_resamples=_RESAMPLES, rng=rng)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _rounding(values: np.ndarray) -> float:
    """Return the variance that a value has by being a whole number of steps, ``q ** 2 / 12`` (Sheppard (1898)).

    The step ``q`` is what all differences of the values are multiples of, found by Euclid's algorithm: an accuracy on N
    examples comes in steps of 1 / N, and values that come in none have next to no such variance.

    >>> round(_rounding(np.array([0.5, 0.8, 1.0])) * 12, 6)
    0.01
    """
    exact = 1e-6 * float(np.max(np.abs(values), initial=0.0))
    step = 0.0
    for gap in np.diff(np.unique(values)).tolist():
        while gap > exact:
            step, gap = gap, abs(math.remainder(step, gap))  # noqa: PLW2901  # as Euclid does
    return step**2 / 12


def _tiny(values: np.ndarray) -> float:
    """Return below what a spread of such values is rounding."""
    return 1e-12 * float(np.max(np.abs(values), initial=0.0))
