"""The cells of a table of settings: a mean with its deviation, an interval, the outcomes of the repeats."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.results.repeats import COMPLETE, STOPPED, Setting
from pipeline.results.statistics import Summary

_WITH_INTERVAL = "test/accuracy"
_MEASURES = (_WITH_INTERVAL, "train/loss")


def headers(settings: Sequence[Setting]) -> list[str]:
    """Return the headers of a table of settings; the ranking metric and the test accuracy have an interval."""
    return ["setting", "repeats", *(head for pair in _measures(settings) for head in pair if head)]


def cells(setting: Setting, settings: Sequence[Setting]) -> list[str]:
    """Return a row of the table: name, repeats with their outcomes, means with deviations, and intervals."""
    row = [setting.name, ended(setting)]
    for name, head in _measures(settings):
        summary = setting.summary(name)
        row.append(with_deviation(summary.mean, summary.deviation))
        if head:
            row.append(interval(summary))
    return row


def interval(summary: Summary) -> str:
    """Return the interval of a mean, an empty text if there is none."""
    return "" if math.isnan(summary.low) else f"{summary.low:.4g} to {summary.high:.4g}"


def with_deviation(mean: float, deviation: float) -> str:
    """Return a mean and its standard deviation, rounded to two significant digits of the deviation.

    >>> with_deviation(0.38765, 0.000998), with_deviation(0.5, float("nan")), with_deviation(12.5, 0.0)
    ('0.3876 ± 0.0010', '0.5', '12.5 ± 0')
    >>> with_deviation(float("nan"), float("nan")), with_deviation(0.994, 7.85e-17)
    ('', '0.994 ± 7.9e-17')
    """
    if math.isnan(mean):
        return ""
    if not math.isfinite(deviation):
        return f"{mean:.4g}"
    if deviation < 1e-12:  # 0, or the rounding of equal values
        return f"{mean:.4g} ± {deviation:.2g}"
    places = max(0, 1 - math.floor(math.log10(float(f"{deviation:.1e}"))))
    return f"{mean:.{places}f} ± {deviation:.{places}f}"


def ended(setting: Setting) -> str:
    """Return how many repeats a setting has, and the outcomes of those that did not complete."""
    at = f" at step {setting.stopped_at:g}"
    counts = setting.counts().items()
    others = [f"{count} {name}{at if name == STOPPED else ''}" for name, count in counts if name != COMPLETE]
    return ", ".join([str(len(setting.repeats)), *others])


def _measures(settings: Sequence[Setting]) -> list[tuple[str, str]]:
    """Return the metrics to show, each with the header of its interval's column, empty if it has none."""
    every = (repeat.metrics for setting in settings for repeat in setting.repeats)
    names = settings[0].criterion.columns(every, _MEASURES)
    return [(name, "95 % interval" if name in (names[0], _WITH_INTERVAL) else "") for name in names]
