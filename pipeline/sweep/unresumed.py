"""The message for a sweep that cannot be resumed: the nearest recorded sweep, and how it differs."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.config.identity import CODE
from pipeline.config.packages import SOURCES
from pipeline.config.schema import Limits
from pipeline.config.settings import counted
from pipeline.record.artifacts import params
from pipeline.record.protocol import CHECKPOINTS, Past, SweepHeader
from pipeline.sweep.checkpoints import Checkpoints
from pipeline.tracking.unfinished import abandon, latest_sweeps

_ELSEWHERE = ("dataset", "device", "engine", *(f"trial.{field.name}" for field in dataclasses.fields(Limits)))
"""Keys that are not part of a trial's identity; the data are compared by their digest."""


def unresumed(uri: str, experiment: str, sweep: SweepHeader, tags: Mapping[str, str]) -> str:
    """Return the message for a sweep, whose run will have these ``tags``, that is not in the record.

    Sweeps that no process computes are ended as KILLED.
    """
    known = list(latest_sweeps(uri, experiment))
    abandoned = [other for other in known if other.unended and not _is_computed(other)]
    for other in abandoned:
        abandon(uri, other)
    text = "sweep.resume: the record holds no sweep of these trials, so all of them are run"
    if known:
        # The latest of those that differ in the fewest things.
        nearest, *_ = sorted(known, key=lambda other: len(list(_differences(other, sweep, tags))))
        what = "; ".join(_differences(nearest, sweep, tags)) or _overrides(nearest, sweep)
        text += f"\nthe nearest is {nearest.name} (run {nearest.run_id}): {what}"
    if abandoned:
        count = sum(len(other.unended) for other in abandoned)
        names = ", ".join(f"{other.name} (run {other.run_id})" for other in abandoned)
        text += f"\nended as KILLED: {counted(count, 'run')} that no process computes, of {names}"
    return text


def _differences(other: Past, sweep: SweepHeader, tags: Mapping[str, str]) -> Iterator[str]:
    """Yield the differences between a recorded sweep, whose trials may not all have started, and this one."""
    recorded, planned = _values(other.params), _values([params(trial.config) for trial in sweep.trials])
    for name in sorted({*recorded, *planned} if recorded else {}):
        before, now = recorded.get(name, {}), planned.get(name, {})
        if not before.keys() <= now.keys() or (now and not before):
            yield f"{name} was {', '.join(before) or 'not there'}, is {', '.join(now) or 'not there'}"
    if other.tags.get("dataset.digest") != tags["dataset.digest"]:
        yield f"the data were others (dataset {other.tags.get('dataset')}, digest {other.tags.get('dataset.digest')})"
    if other.tags.get(CODE) != tags[CODE]:
        yield "the code of tasks has changed"
    for name in sorted(tag for tag in {**other.tags, **tags} if tag.startswith(SOURCES)):
        if other.tags.get(name) != tags.get(name):
            yield f"the code of {name.removeprefix(SOURCES)} has changed"
    if other.name != sweep.name:
        yield f"its name was {other.name!r}, is {sweep.name!r}"


def _values(every: Sequence[Mapping[str, str]]) -> dict[str, dict[str, None]]:
    """Return the values of each key of a trial, in order."""
    values: dict[str, dict[str, None]] = {}
    for one in every:
        for name, value in one.items():
            if not any(name == key or name.startswith(f"{key}.") for key in _ELSEWHERE):
                values.setdefault(name, {})[value] = None
    return values


def _overrides(other: Past, sweep: SweepHeader) -> str:
    """Return how the overrides differ, for sweeps whose keys have the same values or that have no trials yet."""
    before, now = other.tags.get("overrides", "").split(), sweep.overrides
    gone, new = [one for one in before if one not in now], [one for one in now if one not in before]
    new = [one for one in new if not one.startswith("sweep.resume=")]
    return f"its overrides had {' '.join(gone) or 'nothing more'}, have {' '.join(new) or 'nothing more'}"


def _is_computed(other: Past) -> bool:
    """Return whether a process may be computing a sweep; on another machine that is unknown, and so possible."""
    folder = other.tags.get(CHECKPOINTS)
    return other.tags.get("host") != socket.gethostname() or not folder or Checkpoints.are_used(Path(folder))
