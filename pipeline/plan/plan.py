"""The plan of a sweep: trials with their keys, duplicates folded, fused groups."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.config.identity import key
from pipeline.config.schema import Config, describe
from pipeline.config.settings import trial_names
from pipeline.plan.balance import OVERHEAD, Load, cut
from tasks.cost import Extent, multiplications
from tasks.datasets.dataset import Dataset
from tasks.events import Checkpoint, Curve
from tasks.trial import Trial

T = TypeVar("T")

_LEAST = 0.01
"""Of a trial's cost, at the least what is left of it."""

WIDEST = 128
"""The most trials in a group on a CPU: enough for full use of it, and small beside the images in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A point of a sweep's grid, before it is planned: its place, its command-line overrides and its config."""

    index: int
    overrides: tuple[str, ...]
    config: Config


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrial:
    """A trial of a sweep.

    ``key`` identifies it (contract 6 of the architecture), ``name`` says what differs from the others of the sweep,
    ``index`` is its place in the grid (Hydra's job number), ``overrides`` are its command-line overrides and
    ``config`` is its resolved config as plain values: all that is needed to run it again.
    """

    index: int
    key: str
    name: str
    overrides: tuple[str, ...]
    config: Mapping[str, Any]
    trial: Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a group has come: the checkpoint it goes on from, and the points of its trials up to there.

    ``told`` says that this process has told of the points already: they are not told again.
    """

    checkpoint: Checkpoint
    curves: tuple[Curve, ...] = ()
    told: bool = False

    def of_trials(self, kept: Sequence[int]) -> Progress:
        """Return the progress of some of the trials, by their places in the group, in that order."""
        curves = [
            dataclasses.replace(curve, trial=kept.index(curve.trial)) for curve in self.curves if curve.trial in kept
        ]
        return dataclasses.replace(self, checkpoint=self.checkpoint.of_trials(kept), curves=tuple(curves))

    @classmethod
    def join(cls, parts: Sequence[Progress]) -> Progress:
        """Return the progress of one group of the trials of all parts, which have come to the same step."""
        sizes = [0, *itertools.accumulate(len(part.checkpoint.trials) for part in parts[:-1])]
        curves = [
            dataclasses.replace(curve, trial=curve.trial + before)
            for part, before in zip(parts, sizes, strict=True)
            for curve in part.curves
        ]
        checkpoint = Checkpoint.join([part.checkpoint for part in parts])
        return cls(checkpoint=checkpoint, curves=tuple(curves), told=all(part.told for part in parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Trials computed as one; ``start`` is where they go on from, ``until`` the step at which they pause, if any."""

    trials: tuple[PlannedTrial, ...]
    start: Progress | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All trials of a sweep, the indices of folded duplicates by the index they repeat, and the groups."""

    trials: tuple[PlannedTrial, ...]
    folded: Mapping[int, int]
    groups: tuple[Group, ...]


def _widest_on_cpu(trial: Trial) -> int:  # noqa: ARG001  # whatever the trial
    return WIDEST


def make_plan(
    points: Sequence[Point],
    dataset: Dataset,
    *,
    workers: int,
    widest: Callable[[Trial], int] = _widest_on_cpu,
    known: Sequence[PlannedTrial] = (),
) -> Plan:
    """Give each point its key, fold those that are the same trial, and group the rest for ``workers``.

    ``folded`` of the plan maps the index of a point that repeats another to the index of that other, which may be of
    those that are ``known`` from before; the plan's trials are none of these. ``widest`` says how many trials like one
    a group may have.
    """
    every = [trial.trial for trial in known] + [point.config.trial for point in points]
    overrides = [trial.overrides for trial in known] + [point.overrides for point in points]
    names = trial_names(every, overrides)[len(known) :]
    before = {trial.key: trial for trial in known}
    first: dict[str, PlannedTrial] = dict(before)
    folded: dict[int, int] = {}
    for point, name in zip(points, names, strict=True):
        identity = key(point.config, dataset.digest)
        if identity in first:
            folded[point.index] = first[identity].index
            continue
        first[identity] = PlannedTrial(
            index=point.index,
            key=identity,
            name=name,
            overrides=point.overrides,
            config=describe(point.config),
            trial=point.config.trial,
        )
    trials = tuple(trial for trial in first.values() if trial.key not in before)
    groups = make_groups(trials, Extent.of(dataset), workers=workers, widest=widest)
    return Plan(trials=trials, folded=folded, groups=groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What a trial is to do next: from ``start``, or its beginning, to the step ``until``, or its end."""

    trial: PlannedTrial
    start: Progress | None = None
    until: int | None = None

    @property
    def share(self) -> float:
        """Which part of the trial's steps it is."""
        steps = self.trial.trial.steps
        return max((self.until or steps) - self.first, 0) / steps

    @property
    def first(self) -> int:
        """The steps that are done already."""
        return 0 if self.start is None else self.start.checkpoint.step


def make_groups(
    trials: Sequence[PlannedTrial], extent: Extent, *, workers: int, widest: Callable[[Trial], int] = _widest_on_cpu
) -> tuple[Group, ...]:
    """Fuse the trials that can share arithmetic into groups, largest first, so that all workers are busy.

    How trials are grouped changes no bit of them.
    """
    return fused([Stretch(trial=trial) for trial in trials], extent, workers=workers, widest=widest)


def fused(
    stretches: Sequence[Stretch], extent: Extent, *, workers: int, widest: Callable[[Trial], int] = _widest_on_cpu
) -> tuple[Group, ...]:
    """Fuse what trials are to do next, where they can share arithmetic from the same step to the same step."""
    together: dict[tuple[Any, ...], list[Stretch]] = {}
    for one in stretches:
        task = one.trial.trial.task
        together.setdefault((type(task), *task.fusion_key(one.trial.trial), one.first, one.until), []).append(one)
    families = list(together.values())
    loads = [
        Load(trials=len(family), cost=_cost(family, extent), widest=widest(family[0].trial.trial))
        for family in families
    ]
    counts = cut(loads, [0.0] * workers)
    parts = [part for family, count in zip(families, counts, strict=True) for part in chunks(family, count)]
    parts.sort(key=lambda part: (-_cost(part, extent) * (len(part) + OVERHEAD), part[0].trial.index))
    return tuple(map(_group, parts))


def _group(part: Sequence[Stretch]) -> Group:
    starts = [one.start for one in part if one.start is not None]
    start = Progress.join(starts) if starts else None
    return Group(trials=tuple(one.trial for one in part), start=start, until=part[0].until)


def _cost(stretches: Sequence[Stretch], extent: Extent) -> float:
    # A trial that was left at the rung it is to go to has nothing to do, and is a part of a group all the same.
    return max(max(one.share, _LEAST) * multiplications(one.trial.trial, extent) for one in stretches)


def chunks(members: Sequence[T], count: int) -> list[Sequence[T]]:
    """Return the members in so many runs of even length.

    >>> chunks([1, 2, 3, 4, 5], 2)
    [[1, 2], [3, 4, 5]]
    """
    bounds = [len(members) * part // count for part in range(count + 1)]
    return [members[start:stop] for start, stop in itertools.pairwise(bounds)]
