"""The cells of a table of settings: a mean with its deviation, an interval, the outcomes of the repeats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pipeline.results.criterion import is_share
from pipeline.results.numbers import number
from pipeline.results.repeats import FRONT, Setting, on_front_of
from pipeline.results.standing import COMPLETE, STOPPED
from pipeline.results.statistics import Summary

_WITH_INTERVAL = "test/accuracy"
_MEASURES = (_WITH_INTERVAL, "train/loss")


def setting_table(settings: Sequence[Setting], *, most: int, ended: bool = True) -> tuple[list[str], list[list[str]]]:
    """Return the headers and the first ``most`` rows of a table of settings.

    The table shows only metrics that were measured. Once the sweep has ``ended``, the first one (which ranks, if it was
    measured) and the test accuracy have an interval, which takes long to compute, and for several objectives a column
    says which settings are on the Pareto front.
    """
    every, criterion = [repeat.metrics for setting in settings for repeat in setting.repeats], settings[0].criterion
    names = criterion.columns(every, _MEASURES) or criterion.columns(every)
    front = on_front_of(settings) if ended else {}
    with_interval = {names[0], _WITH_INTERVAL} if ended else set()
    heads = [head for name in names for head in (name, *(["95 % interval"] if name in with_interval else []))]
    rows = []
    for setting in settings[:most]:
        row = [setting.name, outcomes(setting)]
        for name in names:
            row.append(with_deviation(*setting.spread(name)))
            row += [interval(setting.summary(name))] if name in with_interval else []
        rows.append([*row, *([front[setting.key]] if front else [])])
    return ["setting", "repeats", *heads, *([FRONT] if front else [])], rows


def is_apart(metrics: Mapping[str, float], columns: Sequence[str]) -> bool:
    """Return whether metrics are of another task than those in a table's columns: they have values in none of them."""
    return bool(columns and metrics) and metrics.keys().isdisjoint(columns)


def value_of(metrics: Mapping[str, float], name: str) -> str:
    """Return a metric in four digits, a count in all of its own; an empty text if it was not measured.

    >>> value_of({"examples": 107264.0}, "examples"), value_of({"val/loss": 4.87561}, "val/loss"), value_of({}, "loss")
    ('107264', '4.876', '')
    """
    return number(metrics[name]) if name in metrics else ""


def interval(summary: Summary) -> str:
    """Return the interval of a mean, an empty text if there is none."""
    return "" if math.isnan(summary.low) else f"{number(summary.low)} to {number(summary.high)}"


def with_deviation(mean: float, deviation: float) -> str:
    """Return a mean and its standard deviation, rounded to two significant digits of the deviation.

    >>> with_deviation(0.38765, 0.000998), with_deviation(0.5, float("nan")), with_deviation(12.5, 0.0)
    ('0.3876 ± 0.0010', '0.5', '12.5 ± 0')
    >>> with_deviation(float("nan"), float("nan")), with_deviation(0.994, 7.85e-17)
    ('', '0.994 ± 7.9e-17')
    >>> with_deviation(123.45, 12.3), with_deviation(1.23456e30, 1.2345e29)
    ('123 ± 12', '1.235e+30 ± 1.2e+29')
    """
    if math.isnan(mean):
        return ""
    if not math.isfinite(deviation):
        return number(mean)
    if deviation < 1e-12:  # 0, or the rounding of equal values
        return f"{number(mean)} ± {deviation:.2g}"
    places = 1 - math.floor(math.log10(float(f"{deviation:.1e}")))
    if places <= 0:
        return f"{number(round(mean))} ± {number(round(deviation), 2)}"
    return f"{mean:.{places}f} ± {deviation:.{places}f}"


def outcomes(setting: Setting) -> str:
    """Return how many repeats a setting has, and the outcomes of those that did not complete."""
    at = f" at step {number(setting.stopped_at, 6)}"
    counts = setting.counts().items()
    others = [f"{count} {name}{at if name == STOPPED else ''}" for name, count in counts if name != COMPLETE]
    return ", ".join([str(len(setting.repeats)), *others])


def gap_text(gap: float, metric: str, *, digits: int = 4, sign: str = "") -> str:
    """Return a difference of a metric as text; of an accuracy in points (hundredths)."""
    return f"{100 * gap:{sign}.2f}" if is_share(metric) else number(gap, digits, sign=sign)


def gap_unit(metric: str) -> str:
    """Return the unit of `gap_text`."""
    return " points" if is_share(metric) else ""
