"""Runs recorded trials again, from their records alone, into new records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pipeline import provenance
from pipeline.background import in_background
from pipeline.config.identity import key
from pipeline.config.packages import SOURCES, packages
from pipeline.config.schema import Config, describe, parse
from pipeline.display.console import Display
from pipeline.engine.inprocess import InProcess
from pipeline.engine.machine import cpu_count
from pipeline.errors import RecordError
from pipeline.figures.drawings import all_figures
from pipeline.plan.plan import Group, PlannedTrial, Segment, fuse
from pipeline.record.artifacts import read_tag
from pipeline.record.protocol import Provenance, SweepHeader
from pipeline.reproduce.changed_config import changed
from pipeline.results.criterion import Criterion
from pipeline.results.failures import Failures
from pipeline.results.fault_log import FaultLog
from pipeline.results.tally import Tally
from pipeline.sweep.follow import compute_and_record
from pipeline.sweep.opening import Header, OpenRecord, Record
from pipeline.tracking.mlflow_recorder import MlflowRecorder
from pipeline.tracking.reader import Reader, RecordedRun, RecordedSweep
from tasks.arrays.devices import library_for
from tasks.cost import DataSize
from tasks.datasets.dataset import Dataset
from tasks.datasets.source import load
from tasks.errors import ConfigError
from tasks.events import Outcome
from tasks.trial import check

REPRODUCES = "reproduces"
"""The tag of a run that names the run it reproduces."""


def rerun(
    reader: Reader, olds: Sequence[RecordedRun], sweep: RecordedSweep | None, changes: Sequence[str], console: Console
) -> list[RecordedRun]:
    """Run the trials of records again, with ``changes`` to their configs, and return the new record of each.

    The trials of a ``sweep`` get a parent run. Trials that become duplicates by the changes are run once. Trials that
    were stopped at a rung are run up to that rung: the decision there depends only on points that are compared. Only
    rows of the tables are built from a recorded config: nothing in it is imported or run.

    Raises
    ------
    ConfigError
        If a change names no key, or a config breaks a rule.
    RecordError
        If a trial did not end by itself, or the new record cannot be written.
    """
    for old in olds:
        if old.layout is None:
            raise RecordError(f"the run must have ended by itself to be compared, got {old.run_id!r}, {old.status}")
    try:
        configs = [parse(changed(old.config, changes)) for old in olds]
    except ConfigError as error:
        raise ConfigError(f"{error}{_gone(olds)}") from None
    library_for(configs[0].device)
    dataset = _load(configs)
    again = f"with {', '.join(changes)}" if changes else "again"
    trials = [
        PlannedTrial(
            index=index,
            key=key(config, dataset.digest),
            name=old.name if sweep else f"{old.name} {again}",
            overrides=(*old.overrides, *changes),
            config=describe(config),
            trial=config.trial,
        )
        for index, (old, config) in enumerate(zip(olds, configs, strict=True))
    ]
    ends = _ends(trials, olds, stops=[config.stopping.stops for config in configs])
    distinct = {trial.key: trial for trial in trials}
    segments = [Segment(trial=trial, until=ends[key]) for key, trial in distinct.items()]
    groups = fuse(segments, DataSize.of(dataset), workers=1)
    planned = tuple(trial for group in groups for trial in group.trials)
    head = _header(planned, dataset, sweep, again, reproduced=sweep.run_id if sweep else olds[0].run_id)
    recorder = MlflowRecorder(reader.uri, olds[0].experiment, figures=all_figures())
    tally = Tally(planned, sweep.criterion if sweep else Criterion.of(configs[0].sweep, dataset))
    _compute(groups, head, recorder, tally, configs[0].device, console)
    console.print(recorder.how_to_look(), markup=False, soft_wrap=True)
    return [reader.trial(str(recorder.run_id(trial))) for trial in trials]


def _gone(olds: Sequence[RecordedRun]) -> str:
    """Return which packages that added rows when the runs were recorded are not installed, as the end of an error."""
    known = {package.name for package in packages()}
    recorded = {tag.removeprefix(SOURCES) for old in olds for tag in old.tags if tag.startswith(SOURCES)}
    return f" (recorded with {', '.join(gone)}, not installed here)" if (gone := sorted(recorded - known)) else ""


def _ends(trials: Sequence[PlannedTrial], olds: Sequence[RecordedRun], stops: Sequence[bool]) -> dict[str, int | None]:
    """Return the step up to which each trial is run, by its key: None for one that is run to its end.

    By a change, a trial that was stopped may become a duplicate of one that went further, a task without rungs, or one
    that no rule ``stops``.
    """
    ends: dict[str, int | None] = {}
    for trial, old, by_rule in zip(trials, olds, stops, strict=True):
        end, before = _end(old) if by_rule and trial.trial.task.trains else None, ends.get(trial.key, 0)
        ends[trial.key] = None if end is None or before is None else max(end, before)
    return ends


def _end(old: RecordedRun) -> int | None:
    """Return the step at which a trial was stopped, None if it was not."""
    stopped = old.tags.get("outcome") == Outcome.STOPPED.value
    return read_tag(old.run_id, old.tags, "outcome.step", int) if stopped else None


def _load(configs: Sequence[Config]) -> Dataset:
    for config in configs:
        if config.dataset != configs[0].dataset:
            raise RecordError(f"the dataset must be one for a whole sweep, got {configs[0].dataset}, {config.dataset}")
    dataset = load(configs[0].dataset)
    for config in configs:
        check(config.trial, dataset)
    return dataset


def _header(
    trials: tuple[PlannedTrial, ...], dataset: Dataset, sweep: RecordedSweep | None, again: str, *, reproduced: str
) -> Header:
    """Return the header of the record that reproduces a run: of a ``sweep``, whose name says that it is done again."""
    now, tag = provenance.collect(), {REPRODUCES: reproduced}
    if sweep is None:
        own = Provenance(tags={**now.tags, **tag}, attachments=now.attachments)
        return Header(sweep=None, dataset=dataset, provenance=own)
    head = SweepHeader(
        name=f"{sweep.name} {again}",
        overrides=(),
        trials=trials,
        tags={**tag, **sweep.criterion.tags()},
        criterion=sweep.criterion,
    )
    return Header(sweep=head, dataset=dataset, provenance=now)


def _compute(
    groups: Sequence[Group], head: Header, recorder: MlflowRecorder, tally: Tally, device: str, console: Console
) -> None:
    """Compute the groups in this process, and record them."""

    def open_record() -> OpenRecord:
        recorder.open(head.sweep, head.dataset, head.provenance)
        return OpenRecord()

    failures = Failures(tally.standings, FaultLog(Path()))
    # The bits depend on the layout and not on the threads.
    with InProcess(threads=cpu_count(), device=device) as engine, Display(console, tally) as display:
        # A signal that comes while the record is opened waits until it is, and closes it.
        record = Record(recorder, in_background(open_record))
        compute_and_record(groups, head.dataset, engine, record, tally, display, failures)
    if tally.failed:
        console.print(str(failures.error()), markup=False, soft_wrap=True)
