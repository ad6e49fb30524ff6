"""The plan of a sweep: trials with their keys, duplicates folded, fused groups."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.identity import key
from pipeline.schema import Config, describe
from pipeline.swept import trial_names
from tasks.datasets.dataset import Dataset
from tasks.events import Checkpoint, Curve
from tasks.trial import Trial

WIDEST = 128
"""The most trials in a group on a CPU: enough for full use of it, and small beside the images in memory."""

OVERHEAD = 3
"""What a group costs beside its trials, in trials: reading its examples and turning them into numbers."""

WORTHWHILE = 0.98
"""A group is halved if that brings the imbalance of the workers to at most this fraction of what it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A point of a sweep's grid, before it is planned: its place, its command-line overrides and its config."""

    index: int
    overrides: tuple[str, ...]
    config: Config


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrial:
    """A trial of a sweep.

    ``key`` identifies it (DESIGN: identity), ``name`` says what differs from the others of the sweep,
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
    """How far a group has come: the checkpoint it goes on from, and the points of its trials up to there."""

    checkpoint: Checkpoint
    curves: tuple[Curve, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Trials computed as one, their arithmetic laid out for ``width`` trials; ``start`` is where they go on from."""

    trials: tuple[PlannedTrial, ...]
    width: int
    start: Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All trials of a sweep, the indices of folded duplicates by the index they repeat, and the groups."""

    trials: tuple[PlannedTrial, ...]
    folded: Mapping[int, int]
    groups: tuple[Group, ...]


def _widest_on_cpu(trial: Trial) -> int:  # noqa: ARG001  # whatever the trial
    return WIDEST


def make_plan(
    points: Sequence[Point], dataset: Dataset, *, workers: int, widest: Callable[[Trial], int] = _widest_on_cpu
) -> Plan:
    """Give each point its key, fold those that are the same trial, and group the rest for ``workers``.

    ``folded`` of the plan maps the index of a point that repeats another to the index of that other.
    ``widest`` says how many trials like one a group may have.
    """
    names = trial_names([point.config.trial for point in points], [point.overrides for point in points])
    first: dict[str, PlannedTrial] = {}
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
    trials = tuple(first.values())
    groups = make_groups(trials, examples=len(dataset.train), workers=workers, widest=widest)
    return Plan(trials=trials, folded=folded, groups=groups)


def make_groups(
    trials: Sequence[PlannedTrial], *, examples: int, workers: int, widest: Callable[[Trial], int] = _widest_on_cpu
) -> tuple[Group, ...]:
    """Fuse the trials that can share arithmetic into groups, largest first, so that all workers are busy.

    A group of the worker that would end last is halved as long as that balances the workers. How trials are
    grouped changes no bit of them.
    """
    together: dict[tuple[Any, ...], list[PlannedTrial]] = {}
    for trial in trials:
        together.setdefault((type(trial.trial.task), *trial.trial.task.fusion_key(trial.trial)), []).append(trial)
    parts = [
        part for members in together.values() for part in _chunks(members, -(-len(members) // widest(members[0].trial)))
    ]

    def cost(part: Sequence[PlannedTrial]) -> int:
        return max(evaluated_examples(trial.trial, examples) for trial in part) * (len(part) + OVERHEAD)

    schedule = _Schedule(parts, cost, workers)
    while True:
        halved = [
            _Schedule([*(other for other in schedule.parts if other is not part), *_chunks(part, 2)], cost, workers)
            for part in schedule.last
            if len(part) > 1
        ]
        best = min(halved, key=lambda other: other.imbalance, default=schedule)
        if best.imbalance >= WORTHWHILE * schedule.imbalance:
            break
        schedule = best
    return tuple(Group(trials=tuple(part), width=len(part)) for part in schedule.parts)


class _Schedule:
    """The parts of a sweep, the most costly first, each given to the worker that is free first."""

    def __init__(
        self,
        parts: Sequence[Sequence[PlannedTrial]],
        cost: Callable[[Sequence[PlannedTrial]], int],
        workers: int,
    ) -> None:
        self.parts = sorted(parts, key=lambda part: (-cost(part), part[0].index))
        free = [(0, worker) for worker in range(workers)]
        given: list[list[Sequence[PlannedTrial]]] = [[] for _ in range(workers)]
        for part in self.parts:
            busy, worker = heapq.heappop(free)
            given[worker].append(part)
            heapq.heappush(free, (busy + cost(part), worker))
        end, latest = max(free)
        self.last = given[latest]  # the parts of the worker that ends last
        # Close to the end of the sweep, and lower where fewer workers reach it.
        self.imbalance = end * sum((busy / end) ** 8 for busy, _ in free) ** (1 / 8)


def evaluated_examples(trial: Trial, examples: int) -> int:
    """Return how many examples a trial's loss is evaluated on over all its steps."""
    return trial.steps * (trial.batch_size or examples)


def _chunks(members: Sequence[PlannedTrial], count: int) -> list[Sequence[PlannedTrial]]:
    bounds = [len(members) * part // count for part in range(count + 1)]
    return [members[start:stop] for start, stop in itertools.pairwise(bounds)]
