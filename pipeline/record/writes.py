"""What is written to a store, as plain data that a file can hold, and that has no further effect when done twice."""

from __future__ import annotations

import base64
import json
import re
import typing
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePosixPath
from typing import Any

from pipeline.errors import RecordError
from pipeline.record.points import Point

RUN = re.compile(r"run-[0-9a-f]{32}")
"""The recorder's own name for a run: the store names it only when it is created."""


def new_run() -> str:
    """Return a name for a run that nothing else has."""
    return f"run-{uuid.uuid4().hex}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRun:
    """Create the run ``run`` that started at ``start`` (milliseconds since the epoch)."""

    run: str
    name: str
    tags: dict[str, str]
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AddDataset:
    """Say what data a run was given."""

    run: str
    name: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """Keep files, by path, as artifacts of a run."""

    run: str
    files: dict[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Write params, tags and points of a run."""

    run: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRun:
    """End a run as FINISHED, FAILED or KILLED at ``end`` (milliseconds since the epoch)."""

    run: str
    status: str
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """Make the classifier of a run a version of the registered model ``name``, and tell the run ``parent`` of it.

    ``layers`` is JSON and ``arrays`` an npz file, what `pipeline.record.classifier` computes with; ``step`` is the
    step of the training that it comes from. ``about`` says what it is of the sweep.
    """

    run: str
    parent: str
    name: str
    step: int
    image_shape: tuple[int, ...]
    layers: str
    arrays: bytes
    about: str = ""


Write = CreateRun | AddDataset | Attach | Log | EndRun | Register

_KINDS: Mapping[str, type[Write]] = {kind.__name__: kind for kind in typing.get_args(Write)}


def encode(write: Write) -> bytes:
    """Return a write as JSON, with files in base64."""
    values = {one.name: getattr(write, one.name) for one in fields(write)}
    return json.dumps({"write": type(write).__name__, **values}, default=_base64).encode()


def decode(content: bytes) -> Write:
    """Return the write that `encode` made ``content`` of.

    Raises
    ------
    RecordError
        If it made no such thing. Nothing is run, and no file named, that a stranger might have put there.
    """
    try:
        values = json.loads(content)
        kind = _KINDS[values.pop("write")]
        write = kind(**{name: _FIELDS[kind.__name__][name](value) for name, value in values.items()})
        if isinstance(write, CreateRun):
            _own(write.run)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RecordError(f"a write must be one of {', '.join(_KINDS)}, got {content[:60]!r}: {error}") from None
    return write


def _own(run: str) -> None:
    if not RUN.fullmatch(run):
        raise ValueError(f"a run to be created must have a name of the recorder's, got {run!r}")


def _base64(content: Any) -> str:
    return base64.b64encode(content).decode()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is needed, got {value!r}")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or abs(value) >= 2**63:
        raise TypeError(f"a whole number is needed, got {value!r}")
    return value


def _content(value: Any) -> bytes:
    return base64.b64decode(_text(value), validate=True)


def _texts(values: Any) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in values.items()}


def _files(values: Any) -> dict[str, bytes]:
    return {_inside(name): _content(value) for name, value in values.items()}


def _inside(name: str) -> str:
    """Return the path of a file that is inside the folder it is relative to."""
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ValueError(f"a path inside a run's artifacts is needed, got {name!r}")
    return name


def _points(values: Any) -> list[Point]:
    return [(_text(metric), float(value), _whole(time), _whole(step)) for metric, value, time, step in values]


def _shape(values: Any) -> tuple[int, ...]:
    return tuple(map(_whole, values))


_READERS: Mapping[Any, Callable[[Any], Any]] = {
    str: _text,
    int: _whole,
    bytes: _content,
    dict[str, str]: _texts,
    dict[str, bytes]: _files,
    list[Point]: _points,
    tuple[int, ...]: _shape,
}

_FIELDS: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
    name: {field: _READERS[hint] for field, hint in typing.get_type_hints(kind).items()}
    for name, kind in _KINDS.items()
}
