"""The space of a search: a sweep's overrides as Optuna's distributions, in the syntax of Hydra's own plug-in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, Override, Transformer

from pipeline.search.library import load
from tasks.errors import ConfigError, require

_Value = tuple[int, int]
"""The number of a key, and that of one of its values."""

MAX_EXAMPLES = 64
"""The most points that are judged before a search starts: to compose those of several groups takes seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """The distribution of each searched key, and the overrides that all points share."""

    distributions: Mapping[str, Any]
    fixed: tuple[str, ...] = ()

    def grid(self) -> dict[str, list[Any]]:
        """Return all values of each key.

        Raises
        ------
        ConfigError
            If the values of a key cannot be listed.
        """
        return {key: _listed(key, distribution) for key, distribution in self.distributions.items()}

    def examples(self) -> list[list[str]]:
        """Return the overrides of points, proposed or not, that hold each choice and each end of a range.

        They are all combinations, or if these are more than `MAX_EXAMPLES`, as many that hold any two values of two
        keys, as most rules are about two. A key that only some choices have is left out of the points of the others.
        """
        axes = [[f"{key}={override_text(end)}" for end in outermost(one)] for key, one in self.distributions.items()]
        counts = list(map(len, axes))
        few = math.prod(counts) <= MAX_EXAMPLES
        points = itertools.product(*map(range, counts)) if few else _points_with_all_pairs(counts)
        return [[*(axis[place] for axis, place in zip(axes, point, strict=True)), *self.fixed] for point in points]

    def with_ends(self, message: str) -> str:
        """Return a message about an example, with the ends of ranges in place of the values next to them."""
        for one in self.distributions.values():
            for value, end in zip(outermost(one), _ends(one), strict=True):
                message = message.replace(override_text(value), override_text(end))
        return message


def _points_with_all_pairs(counts: Sequence[int]) -> list[tuple[int, ...]]:
    """Return places of values, one of each key, such that any two values of two keys are in one of the points.

    >>> _points_with_all_pairs([2, 2, 2])
    [(0, 0, 0), (1, 1, 1), (0, 1, 0), (1, 0, 0), (0, 0, 1)]
    """
    axes = [[(axis, place) for place in range(count)] for axis, count in enumerate(counts)]
    points = [[axis[number % len(axis)] for axis in axes] for number in range(max(counts))]  # they hold each value
    held = {pair for point in points for pair in itertools.combinations(point, 2)}
    pairs = (pair for two in itertools.combinations(axes, 2) for pair in itertools.product(*two))
    left = dict.fromkeys(pair for pair in pairs if pair not in held)
    while left and len(points) < MAX_EXAMPLES:
        points.append(_with_pair(next(iter(left)), axes, left))
        for pair in itertools.combinations(points[-1], 2):
            left.pop(pair, None)
    return [tuple(place for _, place in point) for point in points]


def _with_pair(pair: Sequence[_Value], axes: Sequence[Sequence[_Value]], left: Container[Any]) -> list[_Value]:
    """Return a point with a pair of values; each other key has the value that is in the most of the pairs ``left``."""
    point = sorted(pair)
    for axis in axes:
        if axis[0][0] not in dict(point):
            pairs = [sum(tuple(sorted((one, value))) in left for one in point) for value in axis]
            point = sorted([*point, axis[pairs.index(max(pairs))]])
    return point


def space_of(overrides: Sequence[Override]) -> SearchSpace:
    """Return the space of overrides; a later override of a key, with a plus or without, replaces an earlier one.

    Raises
    ------
    ConfigError
        If no key is searched, or an override has no values.
    """
    distributions: dict[str, Any] = {}
    fixed: dict[str, str] = {}
    last: dict[str, Override] = {}
    for override in overrides:
        name = override.get_key_element().lstrip("+")
        last.pop(name, None)
        last[name] = override
    for override in last.values():
        key = override.get_key_element()
        if override.is_sweep_override():
            distributions[key] = _distribution(override)
        elif override.is_delete() and override.value() is None:
            fixed[key] = key
        else:
            fixed[key] = f"{key}={override.get_value_element_as_str()}"
    if not distributions:
        raise ConfigError(
            "hydra/sweeper=search must have a key to search over, such as learning_rate='tag(log,interval(1e-6,1e-2))' "
            f"(hydra.sweeper.params holds more), got {' '.join(fixed.values()) or 'none'}"
        )
    return SearchSpace(distributions=distributions, fixed=tuple(fixed.values()))


def override_text(value: Any) -> str:
    """Return a proposed value in the syntax of the command line.

    >>> override_text(None), override_text(True), override_text(1e-05), override_text("adam")
    ('null', 'true', '1e-05', 'adam')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _distribution(override: Override) -> Any:
    sweep: Any = override.value()
    key = override.key_or_group
    logarithmic = "log" in getattr(sweep, "tags", ())
    rule = "must have the tag log on an interval() only"
    require(override.is_interval_sweep() or not logarithmic, key, rule, str(override.input_line))
    try:
        if override.is_interval_sweep():
            return _interval(sweep)
        if override.is_range_sweep() and not sweep.shuffle and not getattr(sweep, "transformers", None):
            return _range(sweep)
        return load().distributions.CategoricalDistribution(_choices(override))
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{key} must span what Optuna can search: {error} (got {override.input_line})") from error


def _interval(sweep: Any) -> Any:
    kinds = load().distributions
    low, high, logarithmic = sweep.start, sweep.end, "log" in sweep.tags
    _require_finite(low, high)
    if isinstance(low, int) and isinstance(high, int):
        return kinds.IntDistribution(low, high, log=logarithmic)
    return kinds.FloatDistribution(low, high, log=logarithmic)


def _range(sweep: Any) -> Any:
    kinds = load().distributions
    _require_finite(sweep.start, sweep.stop, sweep.step)
    start, stop, step = (Decimal(str(number)) for number in (sweep.start, sweep.stop, sweep.step))
    if step == 0:
        raise ValueError("the step of a range must not be 0")
    if (count := math.ceil((stop - start) / step)) < 1:
        raise ValueError("a range must hold a value")
    # Hydra's range stops before its end, Optuna's distributions hold both of theirs.
    low, high = sorted((start, start + (count - 1) * step))
    if all(isinstance(number, int) for number in (sweep.start, sweep.stop, sweep.step)):
        return kinds.IntDistribution(int(low), int(high), step=int(abs(step)))
    return kinds.FloatDistribution(float(low), float(high), step=float(abs(step)))


def _require_finite(*numbers: float) -> None:
    if not all(map(math.isfinite, numbers)):
        raise ValueError("its numbers must be finite")


def _choices(override: Override) -> list[Any]:
    """Return the values of a choice: numbers as they are, others in the syntax of the command line.

    Their order is always the same, also where they are shuffled: a study and a resume know them by it.
    """
    sweep: Any = override.value()
    values: Any = sweep.list if isinstance(sweep, ChoiceSweep) else list(override.sweep_iterator())
    if override.is_range_sweep():
        return sorted(values)
    return [value if isinstance(value, bool | int | float) else Transformer.str(value) for value in values]


def outermost(distribution: Any) -> list[Any]:
    """Return the values of a choice, or the ends of a range, between which its other values are.

    Of a continuous interval they are the numbers next to its ends, since ``interval(0,1)`` suits a key above 0, too.
    """
    ends = _ends(distribution)
    if isinstance(distribution, load().distributions.FloatDistribution) and distribution.step is None:
        return [math.nextafter(end, other) for end, other in itertools.permutations(ends)]
    return ends


def _ends(distribution: Any) -> list[Any]:
    if isinstance(distribution, load().distributions.CategoricalDistribution):
        return list(distribution.choices)
    return [distribution.low, distribution.high]


def _listed(key: str, distribution: Any) -> list[Any]:
    kinds = load().distributions
    if isinstance(distribution, kinds.CategoricalDistribution):
        return list(distribution.choices)
    rule = "must have values that can be listed for hydra/sweeper/sampler=grid: choice(), range() or int(interval())"
    require(distribution.step is not None and not distribution.log, key, rule, str(distribution))
    if isinstance(distribution, kinds.IntDistribution):
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    low, high, step = (Decimal(str(number)) for number in (distribution.low, distribution.high, distribution.step))
    return [float(low + number * step) for number in range(int((high - low) / step) + 1)]
