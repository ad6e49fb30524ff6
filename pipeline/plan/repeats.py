"""Repeats: every point of a sweep several times, each with other seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pipeline.config.schema import SEEDS
from pipeline.config.settings import setting_key
from pipeline.plan.plan import Point
from tasks.errors import ConfigError


def repeated(points: Sequence[Point]) -> list[Point]:
    """Return the points that ``sweep.repeats`` makes of these: each with its seeds, those after them, and so on.

    Of the seeds those grow that ``sweep.over`` names. Repeats with the same seeds, of any points, see the same
    minibatches, so that they can be computed as one and compared in pairs. A repeat's index is its place among the
    repeats of all points: `point_of` leads back to the point's.

    Raises
    ------
    ConfigError
        If the points themselves are repeats of each other, with other seeds.
    """
    repeats = points[0].config.sweep.repeats
    if repeats == 1:
        return list(points)
    grown = [key for key in SEEDS if key in points[0].config.sweep.over]
    first: dict[str, dict[str, int]] = {}
    for point in points:
        seeds = {key: getattr(point.config.trial, key) for key in grown}
        known = first.setdefault(setting_key(point.config.trial, grown), seeds)
        for key in grown:
            if known[key] != seeds[key]:
                raise ConfigError(f"sweep.repeats must be 1 where {key} is swept, got {repeats}")
    return [_repeat(point, grown, number, repeats) for point in points for number in range(repeats)]


def point_of(index: int, repeats: int) -> int:
    """Return the index of the point that a repeat with this index is of."""
    return index // repeats


def means(values: Mapping[int, float | Exception], repeats: int) -> dict[int, float | Exception]:
    """Return what each point came to: the mean of its repeats' values, or the failure of one of them.

    >>> means({0: 1.0, 1: 3.0, 2: 5.0, 3: 5.0}, 2)
    {0: 2.0, 1: 5.0}
    """
    every: dict[int, list[float | Exception]] = {}
    for index, value in sorted(values.items()):
        every.setdefault(point_of(index, repeats), []).append(value)
    return {index: _mean(ends) for index, ends in every.items()}


def _mean(ends: Sequence[float | Exception]) -> float | Exception:
    numbers = [end for end in ends if not isinstance(end, Exception)]
    if len(numbers) < len(ends):
        return next(end for end in ends if isinstance(end, Exception))
    return sum(numbers) / len(numbers)


def _repeat(point: Point, grown: Sequence[str], number: int, repeats: int) -> Point:
    seeds = {key: getattr(point.config.trial, key) + number for key in grown}
    replaced = {"sweep.repeats", *grown}  # the overrides of a repeat run it alone
    kept = [text for text in point.overrides if text.lstrip("+").partition("=")[0] not in replaced]
    return Point(
        index=point.index * repeats + number,
        overrides=(*kept, *(f"{key}={seed}" for key, seed in seeds.items())),
        config=dataclasses.replace(point.config, trial=dataclasses.replace(point.config.trial, **seeds)),
    )
