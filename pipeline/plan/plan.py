"""The plan of a sweep: trials with their keys, duplicates folded; and the groups in which trials are fused."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.config.identity import key
from pipeline.config.schema import Config, describe
from pipeline.config.settings import SweptValues, trial_names
from pipeline.plan.balance import Load, balance
from tasks.cost import Cost, DataSize, cost
from tasks.datasets.dataset import Dataset
from tasks.events import Checkpoint, Curve
from tasks.trial import Trial

T = TypeVar("T")

_LEAST_SHARE = 0.01
"""The least share of a trial's cost that counts as left."""

WIDEST = 128
"""The most trials in a group on a CPU: enough to use it fully, and small in memory compared with the images."""

MOST_TRIALS = 10_000_000
"""The most points and trials of a sweep that are listed at its start: more would not fit into memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A point of a sweep's grid, before it is planned: its index, its command-line overrides and its config."""

    index: int
    overrides: tuple[str, ...]
    config: Config


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrial:
    """A trial of a sweep.

    ``key`` identifies it (contract 6 of the architecture), ``name`` holds the values that differ within the sweep,
    ``index`` is its index in the grid (Hydra's job number), ``overrides`` are its command-line overrides and
    ``config`` is its resolved config as plain values, all that is needed to run it again.
    """

    index: int
    key: str
    name: str
    overrides: tuple[str, ...]
    config: Mapping[str, Any]
    trial: Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a group has come: the checkpoint it goes on from, and its trials' curves up to there.

    ``reported`` says that this process has already reported the curves: they are not reported again.
    """

    checkpoint: Checkpoint
    curves: tuple[Curve, ...] = ()
    reported: bool = False

    def of_trials(self, kept: Sequence[int]) -> Progress:
        """Return the progress of the trials ``kept``, by their positions in the group, in that order."""
        curves = [
            dataclasses.replace(curve, trial=kept.index(curve.trial)) for curve in self.curves if curve.trial in kept
        ]
        return dataclasses.replace(self, checkpoint=self.checkpoint.of_trials(kept), curves=tuple(curves))

    @classmethod
    def join(cls, parts: Sequence[Progress]) -> Progress:
        """Return the progress of a merged group, part after part; the parts are at the same step."""
        if len(parts) == 1:
            return parts[0]
        sizes = [0, *itertools.accumulate(len(part.checkpoint.trials) for part in parts[:-1])]
        curves = [
            dataclasses.replace(curve, trial=curve.trial + before)
            for part, before in zip(parts, sizes, strict=True)
            for curve in part.curves
        ]
        checkpoint = Checkpoint.join([part.checkpoint for part in parts])
        return cls(checkpoint=checkpoint, curves=tuple(curves), reported=all(part.reported for part in parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Trials that are fused; ``start`` is the progress they go on from, ``until`` the step they pause at, if any."""

    trials: tuple[PlannedTrial, ...]
    start: Progress | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The trials of a sweep, and the index of the trial that each folded duplicate repeats."""

    trials: tuple[PlannedTrial, ...]
    folded: Mapping[int, int]


def make_plan(
    points: Sequence[Point],
    dataset: Dataset,
    *,
    known: Sequence[PlannedTrial] = (),
    swept: SweptValues | None = None,
) -> Plan:
    """Compute each point's key, and fold duplicates.

    ``folded`` of the plan maps the index of a duplicate to the index of the trial that it repeats, which may be one of
    the trials ``known`` from earlier plans; the plan's trials are new ones only. ``swept`` are the values of the
    trials before, to which these are added; the name of a trial holds those that differ.
    """
    names = trial_names([point.config.trial for point in points], [point.overrides for point in points], swept)
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
    return Plan(trials=tuple(trial for trial in first.values() if trial.key not in before), folded=folded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The next steps of a trial: from ``start`` (None: its beginning) to the step ``until`` (None: its end)."""

    trial: PlannedTrial
    start: Progress | None = None
    until: int | None = None

    @property
    def share(self) -> float:
        """The segment's share of the trial's steps."""
        steps = self.trial.trial.steps
        return ((self.until or steps) - self.first) / steps

    @property
    def first(self) -> int:
        """The number of steps done before it."""
        return 0 if self.start is None else self.start.checkpoint.step


def fuse(
    segments: Sequence[Segment],
    data_size: DataSize,
    *,
    workers: int,
    widest: Callable[[Sequence[Trial]], int] = lambda _: WIDEST,
) -> tuple[Group, ...]:
    """Fuse the segments of trials that can share arithmetic, from the same step to the same step.

    The groups keep all workers busy, the most costly first. ``widest`` returns the most trials in a group, given
    trials that can be fused. The grouping changes no bit of a trial's result.
    """
    by_fusion_key: dict[tuple[Any, ...], list[Segment]] = {}
    for one in segments:
        task = one.trial.trial.task
        fusion_key = (type(task), *task.fusion_key(one.trial.trial), one.first, one.until)
        by_fusion_key.setdefault(fusion_key, []).append(one)
    # By seed: trials of one seed may share draws, and the products of these.
    families = [sorted(family, key=lambda one: one.trial.trial.seed) for family in by_fusion_key.values()]
    loads = [
        Load(
            trials=len(family),
            cost=_cost(family, data_size),
            widest=widest([segment.trial.trial for segment in family]),
        )
        for family in families
    ]
    counts = balance(loads, [0.0] * workers)
    parts = [part for family, count in zip(families, counts, strict=True) for part in chunks(family, count)]
    parts.sort(key=lambda part: (-_cost(part, data_size).of(len(part)), part[0].trial.index))
    return tuple(map(_group, parts))


def _group(part: Sequence[Segment]) -> Group:
    starts = [one.start for one in part if one.start is not None]
    start = Progress.join(starts) if starts else None
    return Group(trials=tuple(one.trial for one in part), start=start, until=part[0].until)


def _cost(segments: Sequence[Segment], data_size: DataSize) -> Cost:
    # A trial whose checkpoint is already at its next rung has no steps left, but is part of a group all the same.
    return cost([one.trial.trial for one in segments], data_size).times(max(segments[0].share, _LEAST_SHARE))


def chunks(members: Sequence[T], count: int) -> list[Sequence[T]]:
    """Return the members split into ``count`` consecutive chunks of about equal length.

    >>> chunks([1, 2, 3, 4, 5], 2)
    [[1, 2], [3, 4, 5]]
    """
    bounds = [len(members) * part // count for part in range(count + 1)]
    return [members[start:stop] for start, stop in itertools.pairwise(bounds)]
