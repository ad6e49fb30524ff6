"""The points of a grid: every combination of the values of its keys; zipped keys vary together."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from hydra.core.override_parser.types import Glob, IntervalSweep, Override, Quote, QuotedString, RangeSweep
from omegaconf import OmegaConf

from pipeline.plan.plan import MOST_TRIALS
from tasks.errors import ConfigError, require

_DIGITS = (4, 8, 17)
"""Significant digits of the values in an interval: the first of these numbers that keeps them ascending is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridSpec:
    """The grid of a sweeper's config.

    ``params`` are the values by key, ``zipped`` the keys that vary together, without the plus of one that is added,
    ``points`` is the number of values that replace an interval.

    Raises
    ------
    ConfigError
        If ``zipped`` is not lists of keys, or ``points`` is less than two or too many.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    zipped: tuple[tuple[str, ...], ...] = ()
    points: int | None = None

    def __post_init__(self) -> None:
        right = self.points is None or (isinstance(self.points, int) and 1 < self.points <= MOST_TRIALS)
        rule = f"must be a number of at least 2 and at most {MOST_TRIALS}"
        require(right, "hydra.sweeper.points", rule, self.points)

    @classmethod
    def of(cls, sweeper: Mapping[str, Any]) -> Self:
        """Return the grid of a sweeper's config, which may be one of Hydra's own."""
        zipped = resolve(sweeper.get("zip") or [])
        groups = zipped if isinstance(zipped, list) and all(isinstance(one, list) for one in zipped) else [zipped]
        if not all(
            isinstance(one, list) and len(one) > 1 and all(isinstance(key, str) for key in one) for one in groups
        ):
            raise ConfigError(
                f"hydra.sweeper.zip must be a list of keys that vary together, or several such lists, got {zipped}"
            )
        groups = [[key.lstrip("+") for key in one] for one in groups]
        keys = [key for one in groups for key in one]
        for key in keys:
            require(keys.count(key) == 1, "hydra.sweeper.zip", "must name each key once", key)
        params = sweeper.get("params") or {}
        require(isinstance(params, Mapping), "hydra.sweeper.params", "must hold values by key", params)
        params = {str(name): value for name, value in resolve(params).items()}
        return cls(params=params, zipped=tuple(map(tuple, groups)), points=sweeper.get("points"))

    def texts(self) -> list[str]:
        """Return the values by key as overrides of the command line."""
        return [f"{name}={_text(value)}" for name, value in self.params.items()]


def combinations(
    overrides: Sequence[Override], *, zipped: Sequence[Sequence[str]] = (), points: int | None = None
) -> list[list[str]]:
    """Return the overrides of each job: every combination of the values, the last key varying fastest.

    Zipped keys take their first values together, then their second values, and so on. An interval is replaced by
    ``points`` values, evenly spaced, in the logarithm if it has the tag log. A later override of a key, with a plus or
    without, replaces an earlier one.

    Raises
    ------
    ConfigError
        If an override has no value, or values that cannot be listed, or zipped keys have different numbers of values,
        or there are more than `MOST_TRIALS` combinations.
    """
    last = {override.get_key_element().lstrip("+"): override for override in overrides}
    names = {name: override.get_key_element() for name, override in last.items()}
    values = {names[name]: _values(override, points) for name, override in last.items()}
    zipped_with: dict[str, list[str]] = {}
    for keys in zipped:
        for key in keys:
            several = len(values.get(names.get(key, key), ())) > 1
            require(several, "hydra.sweeper.zip", "must name keys that have several values each", key)
        members = [names[key] for key in keys]
        if len({len(values[name]) for name in members}) > 1:
            counts = " and ".join(f"{len(values[name])} of {name}" for name in members)
            raise ConfigError(f"hydra.sweeper.zip must pair keys that have as many values as each other, got {counts}")
        zipped_with |= dict.fromkeys(members, members)
    axes: list[list[tuple[str, ...]]] = []
    for name in values:
        members = zipped_with.get(name, [name])
        if name == min(members, key=list(values).index):
            axes.append(list(zip(*(values[member] for member in members), strict=True)))
    count = math.prod(map(len, axes))
    require(count <= MOST_TRIALS, "the grid", f"must have at most {MOST_TRIALS} points", count)
    return [list(itertools.chain.from_iterable(job)) for job in itertools.product(*axes)]


def _values(override: Override, points: int | None) -> list[str]:
    """Return one override for each value of a key."""
    name, text = override.get_key_element(), override.input_line
    if not override.is_sweep_override():
        # A deletion has no value of its own: its element reads like one of null.
        plain = override.is_delete() and override.value() is None
        return [name if plain else f"{name}={override.get_value_element_as_str()}"]
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        rule = "must be swept over values that can be listed (hydra.sweeper.points=NUMBER takes so many of an interval)"
        if points is None:
            raise ConfigError(f"{override.key_or_group} {rule}, got {text}")
        return [f"{name}={value}" for value in evenly_spaced(sweep, points, override.key_or_group)]
    if "log" in getattr(sweep, "tags", ()):
        raise ConfigError(f"{override.key_or_group} must have the tag log on an interval() only, got {text}")
    if isinstance(sweep, RangeSweep):
        start, stop, step = sweep.start, sweep.stop, sweep.step
        assert start is not None
        assert stop is not None
        listed = step != 0 and abs(stop - start) <= MOST_TRIALS * abs(step)
        rule = f"must have a step that is not 0, and at most {MOST_TRIALS} values"
        require(listed, override.key_or_group, rule, text)
    values = [f"{name}={value}" for value in override.sweep_string_iterator()]
    if not values:
        why = ": glob() matches choices in the group's own folder only" if isinstance(sweep, Glob) else ""
        raise ConfigError(f"{override.key_or_group} must have at least one value, got {text}{why}")
    return values


def evenly_spaced(interval: IntervalSweep, points: int, key: str) -> list[str]:
    """Return ``points`` evenly spaced values of an interval, ends included; integers if its ends are integers.

    >>> evenly_spaced(IntervalSweep(start=1e-3, end=1.0, tags={"log"}), 4, "learning_rate")
    ['0.001', '0.01', '0.1', '1.0']
    >>> evenly_spaced(IntervalSweep(start=1, end=10), 3, "steps")
    ['1', '6', '10']
    >>> evenly_spaced(IntervalSweep(start=0.0, end=1.0), 4, "rate")
    ['0.0', '0.3333', '0.6667', '1.0']
    """
    start, end = interval.start, interval.end
    assert start is not None
    assert end is not None
    logarithmic = "log" in interval.tags
    require(start < end, key, "must be an interval that begins below its end", f"{start} to {end}")
    require(start > 0 or not logarithmic, key, "must be above 0 where an interval has the tag log", start)
    shares = [number / (points - 1) for number in range(1, points - 1)]
    if logarithmic:
        first, last = math.log(start), math.log(end)
        between = [math.exp(first + share * (last - first)) for share in shares]
    else:
        between = [start + share * (end - start) for share in shares]
    if isinstance(start, int) and isinstance(end, int):
        return list(dict.fromkeys(str(round(value)) for value in [start, *between, end]))
    for digits in _DIGITS:
        values = [repr(float(start)), *(repr(float(f"{value:.{digits}g}")) for value in between), repr(float(end))]
        if all(one < other for one, other in itertools.pairwise(map(float, values))):
            break
    return values


def resolve(values: Any) -> Any:
    """Return a node of a config as plain values, interpolations resolved, and any other value as it is."""
    return OmegaConf.to_container(values, resolve=True) if OmegaConf.is_config(values) else values


def _text(value: Any) -> str:
    """Return a value of a YAML file in the syntax of the command line; a text is already in it, but not one in a list.

    >>> _text([None, True, 0.5, "1"]), _text("range(3)")
    ("[null,true,0.5,'1']", 'range(3)')
    """
    return value if isinstance(value, str) else _element(value)


def _element(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_element, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{_element(inner)}' for name, inner in value.items())}}}"
    return QuotedString(value, Quote.single).with_quotes() if isinstance(value, str) else json.dumps(value)
