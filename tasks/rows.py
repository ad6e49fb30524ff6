"""Rows of tables: a choice in a config is the name of a frozen dataclass and the values of its fields."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from tasks.errors import ConfigError, SweepError, require, unknown_choice


def parse_row(table: Mapping[str, type], parameter: str, config: Mapping[str, Any]) -> Any:
    """Build the row that ``config["name"]`` names, from the other keys of ``config``.

    Nothing but a row of ``table`` can be built, so a config cannot make the program run anything else.

    Raises
    ------
    ConfigError
        If the name is in no row, a key is no field of the row, or a value is not of the field's type.
    """
    name = config.get("name")
    if not isinstance(name, str) or name not in table:
        raise unknown_choice(parameter, name, table)
    fields = {key: value for key, value in config.items() if key != "name"}
    if fields and not dataclasses.fields(table[name]):
        raise ConfigError(f"{parameter}={name} must have no keys of its own, got {next(iter(fields))!r}")
    return build(table[name], fields, parameter=parameter)


def describe_row(table: Mapping[str, type], row: Any) -> dict[str, Any]:
    """Return the config of a row: the inverse of `parse_row`."""
    return {"name": row_name(table, row)} | field_values(row)


def row_name(table: Mapping[str, type], row: object) -> str:
    """Return a row's name in its table, which configs and messages use; its class's name if it is in no table.

    >>> from tasks.losses import LOSSES, SquaredHinge
    >>> row_name(LOSSES, SquaredHinge())
    'squared_hinge'
    """
    return next((name for name, kind in table.items() if kind is type(row)), type(row).__name__)


def build(kind: type, values: Mapping[str, Any], *, parameter: str) -> Any:
    """Build the dataclass ``kind`` from plain values, converting each to its field's type; errors name ``parameter``.

    >>> from tasks.losses import Svm
    >>> build(Svm, {"margin": 2}, parameter="loss")
    Svm(margin=2.0)
    """
    hints = hints_of(kind)
    names = field_names(kind)
    for key in values:
        if key not in names:
            raise unknown_choice(f"a key of {parameter}", key, names)
    converted = {key: convert(value, hints[key], f"{parameter}.{key}") for key, value in values.items()}
    try:
        return kind(**converted)
    except SweepError:
        raise
    except (Exception, SystemExit) as error:  # a row of a package checks its values in its own way
        given = ", ".join(f"{name}={value!r}" for name, value in converted.items())
        rule = f"{parameter} must have values that {kind.__name__} accepts"
        raise ConfigError(f"{rule}, got {given}: {type(error).__name__}: {error}") from error


def field_values(row: object) -> dict[str, Any]:
    """Return the values of a dataclass's fields by name, as they are: `dataclasses.asdict` copies what they hold."""
    kind: type = type(row)
    return {name: getattr(row, name) for name in field_names(kind)}


def identity(row: object) -> tuple[type, str]:
    """Return what rows are equal by, as something that can be hashed: a field may be a mapping, which cannot."""
    return type(row), repr(field_values(row))


@functools.cache
def field_names(kind: type) -> tuple[str, ...]:
    """Return the names of the fields of a dataclass."""
    return tuple(field.name for field in dataclasses.fields(kind))


@functools.cache
def hints_of(kind: type) -> Mapping[str, Any]:
    """Return the types of the fields of a dataclass by name; working them out takes longer than all else of a row."""
    return typing.get_type_hints(kind)


def convert(value: Any, kind: Any, parameter: str) -> Any:
    """Return ``value`` as ``kind`` (bool, int, float, str, a tuple or a mapping of those, or one of those or None)."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in {typing.Union, types.UnionType}:
        wanted = next(a for a in arguments if a is not type(None))
        return None if value is None and type(None) in arguments else convert(value, wanted, parameter)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{parameter} must be a list, got {value!r}")
        return tuple(convert(item, arguments[0], parameter) for item in value)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{parameter} must be a mapping ({{KEY: VALUE}}), got {value!r}")
        return {str(key): convert(item, arguments[1], f"{parameter}.{key}") for key, item in value.items()}
    if kind in {bool, int} and isinstance(value, str) and (spelled := _spelled(value, kind)) is not None:
        return spelled
    if isinstance(value, bool) is not (kind is bool):
        raise ConfigError(f"{parameter} must be {_NAMES[kind]}, got {value!r}")
    if kind is float and isinstance(value, int | float | str):
        return _number(value, parameter)
    require(is_text(value), parameter, "must be text in UTF-8", value)
    whole = kind is int and isinstance(value, float) and value.is_integer()
    if whole or isinstance(value, kind) or (kind is str and isinstance(value, int | float)):
        return kind(value)
    raise ConfigError(f"{parameter} must be {_NAMES[kind]}, got {value!r}")


def is_text(value: object) -> bool:
    """Return whether no string holds bytes that are not UTF-8, as a path or a variable may: they cannot be recorded."""
    return not isinstance(value, str) or value == value.encode(errors="replace").decode()


_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}


def _spelled(text: str, kind: type) -> bool | int | None:
    """Return the bool or int that a text spells, or None: ``${oc.env:STEPS}`` is a text whatever it holds."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower())
    try:
        return int(text)
    except ValueError:
        return None


def _number(value: float | str, parameter: str) -> float:
    # YAML 1.1 reads 1e-3 (no dot) as text, so a text that spells a number is taken as the number.
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ConfigError(f"{parameter} must be a number, got {value!r}") from None
    if not math.isfinite(number):
        raise ConfigError(f"{parameter} must be a finite number, got {value!r}")
    return number
