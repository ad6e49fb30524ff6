"""A sweep from its points to its report: plan -> engine -> tasks -> events -> recorder -> report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from rich.console import Console

from pipeline.console import Display, make_console, show_folded, show_plan, show_table
from pipeline.engine.protocol import Engine, Failed, Finished, Progressed, Report, Started
from pipeline.errors import TrialsFailedError
from pipeline.estimate import sweep_seconds, worker_memory
from pipeline.plan import Plan, Point, make_plan
from pipeline.provenance import collect
from pipeline.recorder.address import probe
from pipeline.recorder.protocol import Recorder, SweepHeader
from pipeline.schema import Config, describe
from pipeline.signals import StopSignals
from pipeline.starting import Closing, later, make_engine, open_recorder, worker_count
from pipeline.swept import settings, swept
from pipeline.tally import Tally
from tasks.datasets.dataset import Dataset
from tasks.errors import ConfigError
from tasks.events import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What the runs of the trials are tagged with, and the texts kept with each."""

    tags: Mapping[str, str]
    attachments: Mapping[str, str]


def run_points(
    points: Sequence[Point], *, sweep: Sequence[str] | None, meanwhile: Callable[[], object] | None = None
) -> dict[int, float | Exception]:
    """Run the points of a grid as one sweep, and return each one's score, or its failure, by its index.

    ``sweep`` are the sweep's command-line overrides; without them the one point is a lone trial, recorded
    without a parent. ``meanwhile`` is called while engine and store start, and ends before the first trial.
    A dry run returns nothing.

    Raises
    ------
    SweepError
        If the points cannot be run together, or the data, the store or the engine cannot be had.
    """
    config = _shared(points)
    console = make_console()
    if config.sweep.dry_run:
        _show_plan(points, config, console)
        return {}
    probe(config.tracking.uri, create=True)
    with StopSignals() as signals:
        # The data, the store and the engine take seconds each; they start side by side, Ray in the main
        # thread, since it sets signal handlers, and only once the data are known to be good.
        header: Future[tuple[SweepHeader | None, Dataset]] = Future()
        loading = later(config.dataset.load)
        opening = later(lambda: open_recorder(config, header))
        others = later(meanwhile or (lambda: None))
        engine = make_engine(config, lone=sweep is None)
        tags, attachments = collect()
        try:
            dataset = loading.result()
            plan = _make_plan(points, dataset, config)
        except BaseException as error:
            header.set_exception(error)
            raise
        header.set_result(
            (None if sweep is None else _header(sweep, config, plan, dataset, tags, attachments), dataset)
        )
        show_folded(console, plan)
        tally = Tally(plan.trials, validated=len(dataset.validation) > 0)
        with Closing(opening) as closing, engine:
            signals.install()
            others.result()
            recorder = closing.recorder = opening.result()
            # The parent run of a sweep keeps the attachments for all its trials.
            provenance = Provenance(tags=tags, attachments=attachments if sweep is None else {})
            try:
                with Display(console, tally) as display:
                    compute(plan, dataset, engine, recorder, tally, display, provenance, config)
            finally:
                show_table(console, tally.ranking())
        console.print(recorder.how_to_look(), markup=False, soft_wrap=True)
    return _ends(plan, tally)


def compute(
    plan: Plan,
    dataset: Dataset,
    engine: Engine,
    recorder: Recorder,
    tally: Tally,
    display: Display,
    provenance: Provenance,
    config: Config,
) -> None:
    """Record what the engine reports until every trial has ended, and close the record whatever happens."""
    status = "KILLED"
    try:
        for report in engine.run(plan.groups, dataset):
            _record(recorder, report, provenance)
            standing = tally.take(report)
            if isinstance(report, Failed):
                display.say(f"failed: {standing.trial.name}: {report.error}")
            display.update()
            if tally.failed and config.sweep.fail_fast:
                break
        status = "FAILED" if tally.failed else "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        recorder.close(status)


def _record(recorder: Recorder, report: Report, provenance: Provenance) -> None:
    match report:
        case Started(trial=trial):
            recorder.start(trial, provenance.tags, provenance.attachments)
        case Progressed(trial=trial, curve=curve):
            recorder.points(trial, curve)
        case Finished(trial=trial, result=result, layout=layout):
            recorder.finish(trial, result, layout)
        case Failed(trial=trial, error=error, traceback=traceback):
            recorder.fail(trial, error, traceback)


def _shared(points: Sequence[Point]) -> Config:
    """Return the config of the first point, which must be that of all but for their trials."""
    if not points:
        raise ConfigError("the grid must have at least one point, got none")
    first = describe(points[0].config)
    for point in points[1:]:
        other = describe(point.config)
        for name in ("dataset", "device", "engine", "cluster", "tracking", "sweep"):
            if other[name] != first[name]:
                raise ConfigError(
                    f"{name} must be the same in all trials of a sweep, got {first[name]!r} and {other[name]!r}"
                )
    return points[0].config


def _make_plan(points: Sequence[Point], dataset: Dataset, config: Config) -> Plan:
    for point in points:
        point.config.trial.task.check(point.config.trial, dataset)
    return make_plan(points, dataset, workers=worker_count(config))


def _show_plan(points: Sequence[Point], config: Config, console: Console) -> None:
    dataset = config.dataset.load()
    plan, workers = _make_plan(points, dataset, config), worker_count(config)
    show_folded(console, plan)
    seconds = sweep_seconds(plan, dataset, workers=workers)
    show_plan(console, plan, workers=workers, memory=worker_memory(plan, dataset), seconds=seconds)


def _header(
    overrides: Sequence[str],
    config: Config,
    plan: Plan,
    dataset: Dataset,
    tags: Mapping[str, str],
    attachments: Mapping[str, str],
) -> SweepHeader:
    varied = swept([settings(trial.trial) for trial in plan.trials])
    return SweepHeader(
        name=config.sweep.name or f"{', '.join(varied) or 'one trial'} on {dataset.name}",
        overrides=tuple(overrides),
        trials=plan.trials,
        provenance=tags,
        attachments=attachments,
    )


def _ends(plan: Plan, tally: Tally) -> dict[int, float | Exception]:
    ends: dict[int, float | Exception] = {}
    for standing in tally.standings.values():
        failed = standing.outcome in (None, Outcome.FAILED)
        error = f"{standing.trial.name}: {standing.message or 'not finished'}"
        ends[standing.trial.index] = TrialsFailedError(error) if failed else standing.score
    return ends | {index: ends[first] for index, first in plan.folded.items()}
