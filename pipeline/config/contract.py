"""The contract of a table's rows: a frozen dataclass of plain values that implements the table's protocol."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

_PLAIN = (bool, int, float, str)


def violation(row: type, contract: Any) -> str:
    """Return how a row violates its contract, in words; an empty text if it does not.

    >>> from tasks.losses import Loss, Svm
    >>> violation(Svm, Loss), violation(dataclasses.make_dataclass("Mine", [], frozen=True), Loss).partition(",")[0]
    ('', 'must have all of a Loss')
    """
    fields = {field.name for field in dataclasses.fields(row)}
    try:
        hints = typing.get_type_hints(row)
    except Exception as error:  # noqa: BLE001  # annotations are evaluated, and may raise anything
        return f"must have annotations that can be read, got {type(error).__name__}: {error}"
    if cause := _of_fields(row, hints):
        return cause
    if abstract := sorted(getattr(row, "__abstractmethods__", ())):
        return f"must implement {' and '.join(abstract)}"
    lacking = [name for name in _members(contract) if name not in fields and not hasattr(row, name)]
    if lacking:
        return f"must have all of a {contract.__name__}, lacks {', '.join(lacking)}"
    asked = [(contract, name) for name in _members(contract)]
    asked += [(base, name) for base in row.__mro__[1:] for name in sorted(getattr(base, "__abstractmethods__", ()))]
    return _called(row, asked)


def _of_fields(row: type, hints: Mapping[str, Any]) -> str:
    """Return why a field of a row is no key of a config, an empty text if each is one."""
    for field in sorted(dataclasses.fields(row), key=lambda field: field.name):
        if field.name == "name":
            return "must have no field called name, which is the key that chooses the row"
        if not field.init:
            return f"must have fields that a config gives, got {field.name} with init=False"
        if not _is_plain(hints[field.name]):
            return f"must have fields of bool, int, float, str, tuples or mappings of these or None, got {field.name}"
    return ""


def _called(row: type, methods: Sequence[tuple[Any, str]]) -> str:
    """Return which of the methods cannot be called as its protocol or base is, an empty text if all can."""
    for contract, name in methods:
        wanted, got = inspect.getattr_static(contract, name, None), inspect.getattr_static(row, name, None)
        if not inspect.isfunction(wanted) or not inspect.isfunction(got):
            continue
        asked = inspect.signature(wanted).parameters.values()
        places = [one.name for one in asked if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        named = [one.name for one in asked if one.kind is inspect.Parameter.KEYWORD_ONLY]
        try:
            inspect.signature(got).bind_partial(*places, **dict.fromkeys(named))
        except TypeError:
            return f"must have {name}{inspect.signature(wanted)}, got {name}{inspect.signature(got)}"
    return ""


def _members(contract: Any) -> list[str]:
    """Return the names of the members of a protocol and of its bases."""
    found: dict[str, None] = {}
    for kind in contract.__mro__:
        if kind in {object, typing.Protocol, typing.Generic}:
            continue
        named = [*vars(kind).get("__annotations__", {}), *vars(kind)]
        found |= dict.fromkeys(name for name in named if not name.startswith("_"))
    return list(found)


def _is_plain(hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return all(one is type(None) or _is_plain(one) for one in arguments) and type(None) in arguments
    if origin is tuple:
        return len(arguments) == 2 and arguments[1] is Ellipsis and arguments[0] in _PLAIN
    if origin is Mapping:
        return arguments[0] is str and arguments[1] in _PLAIN
    return hint in _PLAIN
