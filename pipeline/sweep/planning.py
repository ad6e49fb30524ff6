"""From the points of a sweep to its plan and its header; rules on all points together are checked first."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rich.console import Console

from pipeline.config.identity import CODE, code_version
from pipeline.config.schema import Config, describe
from pipeline.config.settings import SweptValues, flat, setting_key, used_values
from pipeline.config.tables import TABLES
from pipeline.display.console import Loading, show_folded, show_forecast, show_plan
from pipeline.plan.estimate import sweep_seconds, worker_memory
from pipeline.plan.plan import Plan, PlannedTrial, Point, Segment, fuse, make_plan
from pipeline.plan.repeats import check_repeated, repeated
from pipeline.record.protocol import SweepHeader
from pipeline.results.criterion import Criterion, check_metric, guessed
from pipeline.results.tally import Tally
from pipeline.stopping.checks import check, rung_range
from pipeline.stopping.forecast import Forecast, forecast
from pipeline.sweep.engines import group_count, thread_count, widest
from pipeline.sweep.resume import sweep_key
from pipeline.sweep.source import PointSource
from tasks.arrays.devices import DEVICE_BLOCKS, HOST_BLOCKS
from tasks.arrays.stacking import Form, form
from tasks.cost import DataSize
from tasks.datasets.dataset import Dataset
from tasks.datasets.source import load
from tasks.errors import ConfigError, require
from tasks.rehearsal import REHEARSALS
from tasks.rows import field_values, identity, row_name
from tasks.schedules import Schedule
from tasks.trial import Trial, uses_model
from tasks.trial import check as check_trial

_OF_SWEEP = ("dataset", "stopping", "device", "engine", "cluster", "tracking", "sweep")
"""What all trials of a sweep have in common, beside their limits."""


def shared_config(points: Sequence[Point], before: Config | None = None) -> Config:
    """Return the config that all points share except for their trials: the first point's, or ``before``.

    Raises
    ------
    ConfigError
        If a point differs in something else, or there are no points.
    """
    if not points:
        raise ConfigError("the grid must have at least one point, got none")
    config = before or points[0].config
    for point in points:
        if any(getattr(point.config, name) != getattr(config, name) for name in (*_OF_SWEEP, "limits")):
            first, other = _common(config), _common(point.config)
            name = next(name for name in {**first, **other} if first.get(name) != other.get(name))
            raise ConfigError(
                f"{name} must be the same in all trials of a sweep, got {first.get(name)!r} and {other.get(name)!r}"
            )
    return config


def _common(config: Config) -> dict[str, Any]:
    """Return what all trials have in common by key; that of a row's name is the group's alone."""
    values = describe(config)
    shared = flat({section: values[section] for section in _OF_SWEEP} | {"trial": field_values(config.limits)})
    return {key if key == "sweep.name" else key.removesuffix(".name"): value for key, value in shared}


def plan_points(
    points: Sequence[Point],
    dataset: Dataset,
    config: Config,
    known: Sequence[PlannedTrial] = (),
    swept: SweptValues | None = None,
    examples: Sequence[Point] = (),
) -> Plan:
    """Return the plan of points, given the trials ``known`` already; refuse points that cannot be computed.

    ``swept`` are the values by which trials are named, as in `make_plan`. ``examples`` are points that a search may
    propose later: what cannot be computed then is refused now.
    """
    if examples:
        shared_config(examples, config)
        check_repeated(examples)
    trials = [point.config.trial for point in (*examples, *points)]
    for trial in trials:
        check_trial(trial, dataset)
    if config.device == "cpu":  # a row may know the library of another device only
        _rehearse(trials, known, dataset)
    # Those known have been checked already, so the last of each task stands for them: they may be thousands.
    trials += {identity(one.trial.task): one.trial for one in known}.values()
    check_metric(config.sweep, trials, dataset)
    criterion, rule = Criterion.of(config.sweep, dataset), config.stopping
    metric = rule.metric or criterion.metric
    agrees = metric != criterion.metric or rule.mode in {None, criterion.mode}
    agreement = f"must agree with sweep.mode, by which {metric} ranks: {criterion.mode}"
    require(agrees, "stopping.mode", agreement, rule.mode)
    check(rule, trials, metric=metric, dataset=dataset)
    return make_plan(points, dataset, known=known, swept=swept)


def _rehearse(trials: Sequence[Trial], known: Sequence[PlannedTrial], dataset: Dataset) -> None:
    """Rehearse the packages' rows that trials use, each form once, and none that the ``known`` trials use."""
    for group, rehearsal in REHEARSALS.items():
        if set(TABLES[group]) - set(TABLES[group].own):
            before = _added(group, (one.trial for one in known))
            for one, trial in _added(group, trials).items():
                if one not in before:
                    with np.errstate(all="ignore"):  # as where trials are computed
                        rehearsal(trial, dataset)


def _added(group: str, trials: Iterable[Trial]) -> dict[Form, Trial]:
    """Return a trial for each form of a package's row that trials use."""
    own = set(TABLES[group].own.values())
    rows = [(getattr(trial, group), trial) for trial in trials]
    return {form(row): one for row, one in rows if type(row) not in own and group not in one.task.unused(one)}


def values_of(examples: Sequence[Point]) -> SweptValues | None:
    """Return the values by which the trials of a search are named, also one that is alone; None without examples."""
    return SweptValues(used_values(example.config.trial) for example in examples) if examples else None


def first_plan(
    points: Sequence[Point],
    source: PointSource,
    dataset: Dataset,
    config: Config,
    console: Console,
    swept: SweptValues | None,
) -> Plan:
    """Return the plan of a source's first points; print what is proposed, folded, best, cut and not compared.

    Refuse a metric that no trial reports, and what may be proposed later and cannot be computed.
    """
    plan = plan_points(points, dataset, config, swept=swept, examples=source.examples)
    trials = [point.config.trial for point in (*source.examples, *points)]
    for _, metric in source.objectives:
        asked = dataclasses.replace(config.sweep, metric=metric)
        check_metric(asked, trials, dataset, key="hydra.sweeper.metrics")
    if described := source.describe(Criterion.of(config.sweep, dataset).metric):
        console.print(described, soft_wrap=True)
    show_folded(console, plan)
    if len(trials) > 1 and not source.objectives:  # the ends of a search are told with its plan
        for sentence in guessed(config):
            console.print(sentence)
    for sentence in _cut_schedules(trials):
        console.print(sentence)
    others = sorted({row_name(TABLES["task"], t.trial.task) for t in plan.trials if not t.trial.task.trains})
    if config.stopping.stops and others:
        rule = row_name(TABLES["stopping"], config.stopping)
        console.print(f"stopping={rule} compares trainings: trials of task={', '.join(others)} run to their end")
    return plan


def _cut_schedules(trials: Iterable[Trial]) -> list[str]:
    """Return a sentence for each schedule that changes nothing in the steps of a trial, or does not come to 1."""
    found: dict[tuple[str, int], Schedule] = {}
    for trial in trials:
        keys = ", ".join(f"{key}={value}" for key, value in field_values(trial.schedule).items())
        if keys and trial.steps > 1 and "schedule" not in trial.task.unused(trial):
            found[f"schedule={row_name(TABLES['schedule'], trial.schedule)} ({keys})", trial.steps] = trial.schedule
    told: dict[str, str] = {}
    for (name, steps), schedule in sorted(found.items(), key=lambda one: one[0]):  # of several, the most steps
        first, every = schedule.factor(1, steps), range(2, steps + 1)
        if all(schedule.factor(step, steps) == first for step in every):
            told[name] = f"{name} changes nothing in steps={steps}"
        elif first < 1 and all(schedule.factor(step, steps) < 1 for step in every):
            most = max(schedule.factor(step, steps) for step in every)
            told[name] = f"{name} reaches only {most:.2g} of the learning rate in steps={steps}"
    return list(told.values())


def show_dry_run(points: Sequence[Point], source: PointSource, console: Console, *, lone: bool) -> None:
    """Print the plan of the first points of a ``source``, which may be a ``lone`` trial's, and their estimated cost."""
    config = shared_config(points)
    with Loading(console) as show:
        dataset = load(config.dataset, progress=show)
    plan = first_plan(repeated(points), source, dataset, config, console, values_of(source.examples))
    workers = group_count(config, lone=lone)
    segments = [Segment(trial=trial) for trial in plan.trials]
    groups = fuse(segments, DataSize.of(dataset), workers=workers, widest=widest(config, dataset, lone=lone))
    seconds, total = None, max(source.total * config.sweep.repeats, len(plan.trials))
    if all(one.trial.task.trains and uses_model(one.trial) for one in plan.trials):
        seconds = sweep_seconds(groups, dataset, workers=workers) * total / len(plan.trials)
    blocks = HOST_BLOCKS if config.device == "cpu" else DEVICE_BLOCKS
    memory = worker_memory(groups, dataset, blocks=blocks, threads=thread_count(config, lone=lone))
    show_plan(console, plan, groups, workers=workers, memory=memory, seconds=seconds, total=total)
    if (expected := expectation(config, plan.trials, dataset)) is not None:
        show_forecast(console, expected, seconds=seconds)
    elif config.stopping.stops and any(one.trial.task.trains for one in plan.trials):
        console.print("stopping: how many trials it stops depends on their curves, and not on a ranking alone")


def expectation(config: Config, planned: Sequence[PlannedTrial], dataset: Dataset) -> Forecast | None:
    """Return the forecast of the stopping rule, None where it has nothing to stop, or more than a ranking decides."""
    trials = [trial for trial in planned if trial.trial.task.trains]
    if not config.stopping.stops or not trials:
        return None
    criterion = Criterion.of(config.sweep, dataset)
    settings: dict[str, list[str]] = {}
    for trial in trials:
        settings.setdefault(setting_key(used_values(trial.trial), criterion.over), []).append(trial.key)
    rule, one = config.stopping, trials[0].trial
    first, last = rung_range(rule, one, rule.metric or criterion.metric)
    return forecast(rule, settings, first=first, last=last, steps=one.steps)


def make_header(
    overrides: Sequence[str],
    config: Config,
    tally: Tally,
    dataset: Dataset,
    source: PointSource,
) -> SweepHeader:
    """Return the header of a sweep, before it starts, from the tally of its trials so far and their source."""
    criterion, varied = tally.criterion, tally.swept()
    trials = tuple(standing.trial for standing in tally.standings.values())
    named = [key for key in varied if key not in criterion.over] or source.keys or list(varied)
    repeats = f" ({config.sweep.repeats} repeats)" if config.sweep.repeats > 1 else ""
    return SweepHeader(
        name=config.sweep.name or f"{', '.join(named) or 'one trial'} on {dataset.name}{repeats}",
        overrides=tuple(overrides),
        trials=trials,
        total=source.total * config.sweep.repeats,
        tags={CODE: code_version(), **criterion.tags()},
        key=sweep_key(trials, config, source.identity),
        criterion=criterion,
    )
