"""A sweep from its points to its report: plan -> engine -> tasks -> events -> recorder -> report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.address import sqlite_file
from pipeline.background import later
from pipeline.config.identity import CODE, code_version
from pipeline.config.schema import Config, describe
from pipeline.config.settings import settings, swept
from pipeline.display.console import (
    Display,
    Loading,
    make_console,
    show_folded,
    show_how_to_resume,
    show_past,
    show_plan,
    show_table,
)
from pipeline.errors import Interrupted
from pipeline.plan.estimate import sweep_seconds, worker_memory
from pipeline.plan.plan import Group, Plan, Point, make_plan
from pipeline.plan.repeats import means, repeated
from pipeline.provenance import collect
from pipeline.record.probing import probe
from pipeline.record.protocol import Provenance, SweepHeader
from pipeline.results.criterion import Criterion, check_metric
from pipeline.results.failures import Failures
from pipeline.results.fault_log import FaultLog
from pipeline.results.tally import Tally
from pipeline.signals import StopSignals
from pipeline.stopping.checks import check
from pipeline.sweep.follow import compute
from pipeline.sweep.resume import remaining, resume_command, sweep_key
from pipeline.sweep.start import (
    Closing,
    Header,
    Record,
    make_engine,
    make_recorder,
    open_record,
    started,
    widest,
    worker_count,
)
from tasks.arrays.devices import ON_DEVICE, ON_HOST
from tasks.cost import Extent
from tasks.datasets.dataset import Dataset
from tasks.errors import ConfigError, require
from tasks.events import Outcome
from tasks.trial import check as check_trial


def run_points(
    points: Sequence[Point],
    *,
    sweep: Sequence[str] | None,
    folder: Path = Path(),
    meanwhile: Callable[[], object] | None = None,
) -> dict[int, float | Exception]:
    """Run the points of a grid as one sweep, and return what each one came to, or its failure, by its index.

    That is the value of the metric that ranks, the mean of a point's repeats.

    ``sweep`` are the sweep's command-line overrides; without them the one point is a lone trial, recorded
    without a parent. A sweep's checkpoints are kept in ``folder``. ``meanwhile`` is called while engine and
    store start, and ends before the first trial. A dry run returns nothing.

    Raises
    ------
    SweepError
        If the points cannot be run together, or the data, the store or the engine cannot be had.
    """
    config = _shared(points)
    require(sweep is not None or not config.sweep.resume, "sweep.resume", "must be false without --multirun", True)
    repeats = config.sweep.repeats
    require(sweep is not None or repeats == 1, "sweep.repeats", "must be 1 without --multirun", repeats)
    points = repeated(points)
    console = make_console()
    if config.sweep.dry_run:
        _show_plan(points, config, console)
        return {}
    probe(config.tracking.uri, create=True, experiment=config.tracking.experiment)
    with StopSignals():
        # The data, the store and the engine take seconds each; they start side by side, Ray in the main
        # thread, since it sets signal handlers, and only once the data are known to be good.
        header: Future[Header] = Future()
        running: Future[None] = Future()
        loading = later(lambda: _load(config, console))
        recorder = make_recorder(config, folder, lone=sweep is None)
        record = Record(recorder, later(lambda: open_record(recorder, config, header, running, folder)))
        others = later(meanwhile or (lambda: None))
        engine = make_engine(config, lone=sweep is None)
        tags, attachments = collect()
        try:
            dataset = loading.result()
            plan = _make_plan(points, dataset, config)
        except BaseException as error:
            header.set_exception(error)
            raise
        show_folded(console, plan)
        tally = Tally(plan.trials, Criterion.of(config.sweep, dataset))
        failures = Failures(len(plan.trials), FaultLog(folder))
        with Closing(record, header, running):
            # The parent run of a sweep keeps the attachments for all its trials.
            provenance = Provenance(tags=tags, attachments=attachments if sweep is None else {})
            head = None if sweep is None else _header(sweep, config, plan, dataset, tags, attachments)
            header.set_result(Header(sweep=head, dataset=dataset, provenance=provenance))
            with started(engine, running):
                others.result()
                groups = _left(plan, dataset, record, tally, console, config)
                try:
                    with Display(console, tally) as display:
                        compute(groups, dataset, engine, record, tally, display, config, failures)
                except Interrupted:
                    if sweep is not None:
                        show_how_to_resume(console, resume_command())
                    raise
                finally:
                    show_table(console, tally)
        console.print(recorder.how_to_look(), markup=False, soft_wrap=True)
    return means(_ends(plan, tally, failures), repeats)


def _load(config: Config, console: Console) -> Dataset:
    with Loading(console) as loading:
        dataset: Dataset = config.dataset.load(progress=loading)
    return dataset


def _left(
    plan: Plan, dataset: Dataset, record: Record, tally: Tally, console: Console, config: Config
) -> tuple[Group, ...]:
    """Return the groups that are left to compute, and make known what an earlier process has computed."""
    if not config.sweep.resume:
        if sqlite_file(config.tracking.uri) is None:
            record.opened()  # what MLflow refuses is told before anything is computed; a file has been probed
        return plan.groups
    past, checkpoints = record.opened().past, record.checkpoints()
    if past is None:
        console.print(record.opened().unresumed, markup=False, soft_wrap=True)
        return plan.groups
    ended = past.ended
    saved = [] if checkpoints is None else checkpoints.load()
    for trial in plan.trials:
        if trial.key in ended:
            _, result = ended[trial.key]
            tally.know(trial.key, result)
    groups = remaining(
        plan.trials,
        ended,
        saved,
        extent=Extent.of(dataset),
        workers=worker_count(config),
        widest=widest(config, dataset),
    )
    damaged = [] if checkpoints is None else checkpoints.damaged
    show_past(console, past, groups, damaged)
    return groups


def _shared(points: Sequence[Point]) -> Config:
    """Return the config of the first point, which must be that of all but for their trials."""
    if not points:
        raise ConfigError("the grid must have at least one point, got none")
    first = _common(points[0].config)
    for point in points[1:]:
        other = _common(point.config)
        if other != first:
            name = next(name for name in {**first, **other} if first.get(name) != other.get(name))
            raise ConfigError(
                f"{name} must be the same in all trials of a sweep, got {first.get(name)!r} and {other.get(name)!r}"
            )
    return points[0].config


def _common(config: Config) -> dict[str, Any]:
    values = describe(config)
    flat: dict[str, Any] = {}
    for section in ("dataset", "stopping", "device", "engine", "cluster", "tracking", "sweep"):
        value = values[section]
        flat |= (
            {f"{section}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {section: value}
        )
    return {"dataset": flat.pop("dataset.name"), "stopping": flat.pop("stopping.name"), **flat}


def _make_plan(points: Sequence[Point], dataset: Dataset, config: Config) -> Plan:
    for point in points:
        check_trial(point.config.trial, dataset)
    trials = [point.config.trial for point in points]
    check_metric(config.sweep, trials, dataset)
    metric = config.stopping.metric or Criterion.of(config.sweep, dataset).metric
    check(config.stopping, trials, metric=metric, validated=len(dataset.validation) > 0)
    return make_plan(points, dataset, workers=worker_count(config), widest=widest(config, dataset))


def _show_plan(points: Sequence[Point], config: Config, console: Console) -> None:
    dataset = _load(config, console)
    plan, workers = _make_plan(points, dataset, config), worker_count(config)
    show_folded(console, plan)
    seconds = sweep_seconds(plan, dataset, workers=workers)
    memory = worker_memory(plan, dataset, most=ON_HOST if config.device == "cpu" else ON_DEVICE)
    show_plan(console, plan, workers=workers, memory=memory, seconds=seconds)


def _header(
    overrides: Sequence[str],
    config: Config,
    plan: Plan,
    dataset: Dataset,
    tags: Mapping[str, str],
    attachments: Mapping[str, str],
) -> SweepHeader:
    criterion = Criterion.of(config.sweep, dataset)
    varied = swept([settings(trial.trial) for trial in plan.trials])
    named = [key for key in varied if key not in criterion.over] or list(varied)
    repeats = f" ({config.sweep.repeats} repeats)" if config.sweep.repeats > 1 else ""
    return SweepHeader(
        name=config.sweep.name or f"{', '.join(named) or 'one trial'} on {dataset.name}{repeats}",
        overrides=tuple(overrides),
        trials=plan.trials,
        provenance={**tags, CODE: code_version(), **criterion.tags()},
        attachments=attachments,
        key=sweep_key(plan.trials, config.sweep.name),
        criterion=criterion,
    )


def _ends(plan: Plan, tally: Tally, failures: Failures) -> dict[int, float | Exception]:
    error = failures.error()  # of all: Hydra tells of the first only
    ends: dict[int, float | Exception] = {
        standing.trial.index: error if standing.outcome in (None, Outcome.FAILED) else standing.value
        for standing in tally.standings.values()
    }
    return ends | {index: ends[first] for index, first in plan.folded.items()}
