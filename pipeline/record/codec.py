"""Encodes the entries of a log as bytes, and decodes them: arrays keep every bit."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

import pipeline.reports
import tasks.events
from pipeline.address import redact
from pipeline.config.schema import parse
from pipeline.errors import RecordError
from pipeline.plan.plan import PlannedTrial
from pipeline.record import protocol
from pipeline.record.artifacts import trial_config
from tasks.errors import SweepError

_TYPES: Mapping[str, Any] = {
    name: kind
    for module in (tasks.events, pipeline.reports, protocol)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, enum.Enum))
}
"""The types that an entry may hold, by name: those of `pipeline.reports` and of the modules above."""


_MISFITS = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, MemoryError, SweepError)
"""What is raised where the values of an entry do not fit."""


class Codec:
    """Encodes the entries of one log, or decodes them, in order.

    The first entry that has a trial holds it in full, later ones its key. Passwords are removed from addresses, and
    what is not part of a trial from its config.
    """

    def __init__(self) -> None:
        self._trials: dict[str, PlannedTrial] = {}

    def encode(self, entry: Any) -> bytes:
        """Return an entry as a line of JSON, followed by the bytes of its arrays."""
        blobs: list[bytes] = []
        text = json.dumps(self._encoded(entry, blobs), separators=(",", ":"))
        return b"".join([text.encode(), b"\n", *blobs])

    def decode(self, content: bytes) -> Any:
        """Return the entry that `encode` made into ``content``.

        Raises
        ------
        RecordError
            If ``content`` is not such an entry. Decoding never runs code from the file.
        """
        text, _, blobs = content.partition(b"\n")
        try:
            return self._decoded(json.loads(text), _Blobs(blobs))
        except _MISFITS as error:
            raise RecordError(f"an entry must be one of a record's log, got {content[:60]!r}: {error}") from None

    def _encoded(self, value: Any, blobs: list[bytes]) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Mapping):
            return {"map": [[key, self._encoded(one, blobs)] for key, one in value.items()]}
        if isinstance(value, list | tuple):
            return [self._encoded(one, blobs) for one in value]
        if isinstance(value, PlannedTrial):
            return {"trial": value.key if value.key in self._trials else self._encoded_trial(value)}
        if isinstance(value, enum.Enum):
            return {"is": type(value).__name__, "value": value.value}
        return self._blob(value, blobs) or self._record(value, blobs)

    def _blob(self, value: Any, blobs: list[bytes]) -> dict[str, Any] | None:
        if isinstance(value, bytes):
            blobs.append(value)
            return {"bytes": len(value)}
        if isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
            blobs.append(array.tobytes())
            return {"array": [array.dtype.str, *array.shape]}
        return None

    def _record(self, value: Any, blobs: list[bytes]) -> dict[str, Any]:
        fields = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
        kept = {name: one for name, one in fields.items() if not isinstance(one, BaseException)}
        return {"is": type(value).__name__} | {name: self._encoded(one, blobs) for name, one in kept.items()}

    def _encoded_trial(self, trial: PlannedTrial) -> dict[str, Any]:
        self._trials[trial.key] = trial
        overrides = [redact(text) for text in trial.overrides]
        config = trial_config(trial.config) | ({"sweep": trial.config["sweep"]} if "sweep" in trial.config else {})
        return {"index": trial.index, "key": trial.key, "name": trial.name, "overrides": overrides, "config": config}

    def _decoded(self, value: Any, blobs: _Blobs) -> Any:
        if isinstance(value, list):
            return tuple(self._decoded(one, blobs) for one in value)
        if not isinstance(value, dict):
            return value
        match next(iter(value.items()), ("", None)):
            case "array", [kind, *shape]:
                decoded: Any = blobs.array(np.dtype(kind), shape)
            case "bytes", length:
                decoded = blobs.read(length)
            case "trial", trial:
                decoded = self._decoded_trial(trial)
            case "map", items:
                decoded = {key: self._decoded(one, blobs) for key, one in items}
            case _:
                kind = _TYPES[value.pop("is")]
                decoded = kind(**{name: self._decoded(one, blobs) for name, one in value.items()})
        return decoded

    def _decoded_trial(self, value: Any) -> PlannedTrial:
        if isinstance(value, dict):
            trial = parse(value["config"]).trial
            planned = PlannedTrial(**{**value, "overrides": tuple(value["overrides"])}, trial=trial)
            self._trials[planned.key] = planned
            return planned
        return self._trials[value]


class _Blobs:
    """Reads the bytes and arrays that follow the text of an entry, in order."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._offset = 0

    def read(self, length: int) -> bytes:
        part = self._content[self._offset : self._offset + length]
        if not 0 <= length == len(part):
            raise ValueError(f"{length} bytes are needed, got {len(part)}")
        self._offset += length
        return part

    def array(self, kind: np.dtype[Any], shape: list[int]) -> np.ndarray:
        content = self.read(kind.itemsize * int(np.prod(shape, dtype=np.int64)))
        return np.frombuffer(content, dtype=kind).reshape(shape)
