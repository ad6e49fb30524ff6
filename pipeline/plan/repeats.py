"""Repeats: every point of a sweep several times, with different seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pipeline.config.schema import SEEDS
from pipeline.config.settings import setting_key, used_values
from pipeline.plan.plan import MOST_TRIALS, Point
from tasks.errors import require


def repeated(points: Sequence[Point]) -> list[Point]:
    """Return every point ``sweep.repeats`` times: with its own seeds, with its seeds plus 1, plus 2, and so on.

    Only the seeds that ``sweep.over`` names are incremented. Repeats of any points with the same seeds see the same
    minibatches, so that they can be fused and compared in pairs. Repeats are numbered over all points; `point_of`
    returns the index of a repeat's point.

    Raises
    ------
    ConfigError
        If the points themselves are repeats of each other, with different seeds, or there are too many repeats.
    """
    repeats = points[0].config.sweep.repeats
    if repeats == 1:
        return list(points)
    count = len(points) * repeats
    require(count <= MOST_TRIALS, "sweep.repeats", f"must make at most {MOST_TRIALS} trials of all points", repeats)
    incremented = [key for key in SEEDS if key in points[0].config.sweep.over]
    first: dict[str, dict[str, int]] = {}
    for point in points:
        seeds = {key: getattr(point.config.trial, key) for key in incremented}
        known = first.setdefault(setting_key(used_values(point.config.trial), incremented), seeds)
        for key in incremented:
            require(known[key] == seeds[key], "sweep.repeats", f"must be 1 where {key} is swept", repeats)
    return [_repeat(point, incremented, number, repeats) for point in points for number in range(repeats)]


def check_repeated(points: Sequence[Point]) -> None:
    """Refuse points that a search may propose with several seeds, if each is run with several seeds anyway."""
    sweep = points[0].config.sweep
    for key in SEEDS:
        seeds = {getattr(point.config.trial, key) for point in points}
        alone = sweep.repeats == 1 or key not in sweep.over or len(seeds) == 1
        require(alone, "sweep.repeats", f"must be 1 where {key} is swept", sweep.repeats)


def point_of(index: int, repeats: int) -> int:
    """Return the index of the point of the repeat with this index."""
    return index // repeats


def _repeat(point: Point, incremented: Sequence[str], number: int, repeats: int) -> Point:
    seeds = {key: getattr(point.config.trial, key) + number for key in incremented}
    replaced = {"sweep.repeats", *incremented}  # the overrides of a repeat run it alone
    kept = [text for text in point.overrides if text.lstrip("+").partition("=")[0] not in replaced]
    return Point(
        index=point.index * repeats + number,
        overrides=(*kept, *(f"{key}={seed}" for key, seed in seeds.items())),
        config=dataclasses.replace(point.config, trial=dataclasses.replace(point.config.trial, **seeds)),
    )
