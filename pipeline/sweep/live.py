"""The live sweep: it owns engine, data, record and display, and outlives any batch of points."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.address import sqlite_file
from pipeline.background import in_background
from pipeline.config.schema import Config
from pipeline.display.console import (
    Display,
    make_console,
    show_folded,
    show_how_to_resume,
    show_past,
    show_table,
)
from pipeline.errors import Interrupted
from pipeline.plan.plan import Group, Plan, PlannedTrial, Point
from pipeline.provenance import collect
from pipeline.record.probing import probe
from pipeline.record.protocol import Provenance
from pipeline.reports import Decided, Failed, Finished, Measured, Paused, Planned, Report
from pipeline.results.criterion import Criterion, check_metric
from pipeline.results.failures import Failures
from pipeline.results.fault_log import FaultLog
from pipeline.results.tally import Tally
from pipeline.signals import StopSignals, raise_swallowed
from pipeline.stopping.rung_system import Decision
from pipeline.sweep.batch import PointBatch
from pipeline.sweep.engines import make_engine, widest, worker_count
from pipeline.sweep.follow import ReportHandler
from pipeline.sweep.occupancy import Occupancy
from pipeline.sweep.opening import Header, Record, closing, connected, make_recorder, open_record
from pipeline.sweep.planning import expectation, header, load, planned, say_what_is_not_stopped, shared
from pipeline.sweep.resume import Resumption, resume_command
from pipeline.sweep.source import PointSource
from pipeline.sweep.trial_scheduler import TrialScheduler

ABREAST = 12
"""Trials that are proposed for a worker at a time: enough for full use of fused arithmetic."""


class LiveSweep:
    """A sweep while it lasts, a context manager: what it needs starts with its first batch and ends with it.

    ``overrides`` are the sweep's command-line overrides; without them its one point is a lone trial, recorded without
    a parent. A sweep's checkpoints are kept in ``folder``.
    """

    def __init__(self, config: Config, *, overrides: Sequence[str] | None, folder: Path = Path()) -> None:
        self._config, self._overrides, self._folder = config, overrides, folder
        self._console = make_console()
        self._stack = contextlib.ExitStack()
        self._trials: dict[int, PlannedTrial] = {}
        self._computing: dict[str, int] = {}  # the group of each trial that is computed
        self._open: Counter[int] = Counter()  # how many trials of each group are
        self._submitted = 0
        self._occupancy = Occupancy()
        self._started = False
        self._last = True
        self._proposed = 0  # how many points of a search are known
        self._unwritten: list[Sequence[str]] = []  # those of them that are not written down yet

    def __enter__(self) -> Self:
        raise_swallowed()
        self._stack.enter_context(StopSignals())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)
        if error is None and self._started:
            self._console.print(self._record.recorder.how_to_look(), markup=False, soft_wrap=True)

    def run(
        self, source: PointSource, *, last: bool = True, meanwhile: Callable[[], object] | None = None
    ) -> dict[int, float | Exception]:
        """Run the points of a source, and return what each one came to, or its failure, by its index.

        That is the value of the metric that ranks, the mean of a point's repeats. ``last`` says that no other source
        will follow. ``meanwhile`` is called while engine and store start, and ends before the first trial.

        Raises
        ------
        SweepError
            If the points cannot be run together, or the data, the store or the engine cannot be had.
        """
        others = in_background(meanwhile or (lambda: None))
        self._last = last
        batch = PointBatch(source, repeats=self._config.sweep.repeats)
        # Of a source that may have a past only so much as tells which one it is.
        few = bool(source.identity) and self._config.sweep.resume
        points = batch.more(1 if few else ABREAST * worker_count(self._config))
        shared(points, self._config)
        if self._started:
            others.result()
            self._add(batch, points)
        else:
            self._start(batch, points, others)
        self._follow(batch)
        self._note(batch)
        if self._occupancy.idle >= 0:
            self._handler.take(Measured(metrics={"workers/idle": self._occupancy.idle}))
        return batch.ends(self._tally.standings, self._failures.error())

    def _start(self, batch: PointBatch, points: Sequence[Point], others: Future[object]) -> None:
        """Start what takes seconds side by side: the data, then the store and the engine.

        The engine starts in the main thread, since Ray sets signal handlers, and only once the data are known to be
        good. Nothing is recorded of a sweep whose engine cannot start.
        """
        config, lone = self._config, self._overrides is None
        probe(config.tracking.uri, create=True, experiment=config.tracking.experiment)
        loading = in_background(lambda: load(config, self._console))
        recorder = make_recorder(config, self._folder, lone=lone)
        self._stack.callback(recorder.drawers.close)
        self._engine = make_engine(config, lone=lone)
        tags, attachments = collect()
        self._dataset = loading.result()
        plan = planned(points, self._dataset, config)
        for metric in batch.metrics:
            asked = dataclasses.replace(config.sweep, metric=metric)
            check_metric(asked, [trial.trial for trial in plan.trials], self._dataset, key="hydra.sweeper.metrics")
        show_folded(self._console, plan)
        say_what_is_not_stopped(config, plan, self._console)
        connecting = connected(recorder)
        self._stack.enter_context(self._engine)
        others.result()
        if sqlite_file(config.tracking.uri) is None:
            connecting.result()  # what MLflow refuses is told before anything is shown; a file was probed

        # The parent run of a sweep keeps the attachments for all its trials.
        provenance = Provenance(tags=tags, attachments=attachments if lone else {})
        overrides = self._overrides or ()
        sweep = None if lone else header(overrides, config, plan, self._dataset, tags, attachments, batch.identity)
        head = Header(sweep=sweep, dataset=self._dataset, provenance=provenance)
        self._record = Record(
            recorder, in_background(lambda: open_record(recorder, connecting, config, head, self._folder))
        )
        criterion = Criterion.of(config.sweep, self._dataset)
        expected = expectation(config, plan.trials, self._dataset)
        self._tally = Tally(plan.trials, criterion, share=expected.share if expected else 1.0)
        self._failures = Failures(len(plan.trials), FaultLog(self._folder))
        self._scheduler = TrialScheduler(config, self._dataset, criterion, widest=widest(config, self._dataset))
        self._stack.push(self._show_end)
        display = self._stack.enter_context(Display(self._console, self._tally))
        self._stack.enter_context(closing(self._record, self._engine, self._tally, display.say))
        self._handler = ReportHandler(self._record, self._tally, display, self._failures)
        self._started = True
        self._engine.load(self._dataset)
        self._resumption = self._resumed()
        if self._resumption.proposals:
            points, plan = self._recall(batch, points, plan)
        self._note(batch)
        self._enter(batch, points, plan, decisions=self._resumption.decisions)

    def _show_end(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, Interrupted) and self._overrides is not None:
            show_how_to_resume(self._console, resume_command())
        show_table(self._console, self._tally)
        if self._occupancy.idle >= 0:
            told = f"workers were idle {100 * self._occupancy.idle:.0f} % of the time after the first rung"
            self._console.print(told)

    def _resumed(self) -> Resumption:
        """Return what an earlier process has left, where the sweep is to go on from that."""
        if not self._config.sweep.resume:
            if sqlite_file(self._config.tracking.uri) is None:
                self._record.opened()  # what MLflow refuses is told before anything is computed; a file was probed
            return Resumption()
        opened = self._record.opened()
        if opened.past is None:
            self._console.print(opened.unresumed, markup=False, soft_wrap=True)
            return Resumption()
        resumption = Resumption.of(opened.past, opened.checkpoints)
        show_past(self._console, resumption.counts(self._tally.standings), resumption.damaged)
        return resumption

    def _recall(self, batch: PointBatch, points: Sequence[Point], plan: Plan) -> tuple[Sequence[Point], Plan]:
        """Return all that a source has proposed in an earlier process, which it has begun to propose again."""
        proposals = self._resumption.proposals
        self._console.print(f"{len(proposals)} proposals are known, and made again")
        batch.recall(proposals)
        self._proposed = len(proposals)
        points = [*points, *batch.more(len(proposals))]
        whole = planned(points, self._dataset, self._config)
        new = tuple(trial for trial in whole.trials if trial.key not in {known.key for known in plan.trials})
        self._failures.expect(len(new))
        self._handler.take(Planned(trials=new))
        return points, whole

    def _add(self, batch: PointBatch, points: Sequence[Point]) -> None:
        """Take in more points than the sweep began with."""
        shared(points, self._config)
        plan = planned(points, self._dataset, self._config, known=list(self._trials.values()))
        self._failures.expect(len(plan.trials))
        self._handler.take(Planned(trials=plan.trials))
        self._note(batch)
        self._enter(batch, points, plan)

    def _note(self, batch: PointBatch) -> None:
        """Write down what a source has proposed, before it is acted upon: a resume must not propose otherwise.

        The first proposals, which are the same again, are not waited with for the record.
        """
        if (news := batch.news()) is not None:
            new = [told for told in news.proposals if told.number >= self._proposed]
            self._proposed += len(new)
            self._unwritten += [told.overrides for told in new]
            self._handler.take(news)
        checkpoints = self._record.checkpoints()
        if self._unwritten and checkpoints is not None:
            checkpoints.propose(self._unwritten)
            self._unwritten = []

    def _enter(
        self, batch: PointBatch, points: Sequence[Point], plan: Plan, decisions: Sequence[Decision] = ()
    ) -> None:
        """Have the trials of points computed, but for those that have ended already."""
        self._trials |= {trial.index: trial for trial in plan.trials}
        batch.know(points, plan, self._trials)
        self._scheduler.add(plan.trials)
        self._scheduler.replay(decisions)
        for decision in decisions:
            self._record.recorder.take(self._scheduler.as_report(decision))
        for trial in plan.trials:
            if trial.key in self._resumption.ended:
                result = self._resumption.ended[trial.key]
                self._tally.know(trial.key, result)
                self._scheduler.end(trial, result)
            else:
                self._scheduler.schedule(trial, self._resumption.saved.get(trial.key))
        for point in points:
            trial = self._trials[plan.folded.get(point.index, point.index)]
            self._end(batch, trial)

    def _follow(self, batch: PointBatch) -> None:
        """Compute until every point of a batch has ended."""
        self._submit(batch)
        while self._open:
            for report in self._engine.reports():
                self._hear(batch, report)
                if self._tally.failed and self._config.sweep.fail_fast:
                    return
                if isinstance(report, Finished | Failed | Paused):
                    self._submit(batch)
            self._decide(batch, closed=True)  # nothing runs: nobody else will come, or not before this is decided
            self._submit(batch)

    def _submit(self, batch: PointBatch) -> None:
        """Give work to the workers that have none: trials that go on, and more points."""
        self._decide(batch, closed=batch.done)
        while (idle := self._engine.size - len(self._open)) > 0:
            groups = self._scheduler.groups(idle)
            if groups:
                self._hand_over(groups, last=self._last and batch.done and self._scheduler.settled)
            elif batch.done or not (points := batch.more(ABREAST * idle)):
                return
            else:
                self._add(batch, points)

    def _hand_over(self, groups: Sequence[Group], *, last: bool) -> None:
        for group in groups:
            self._submitted += 1
            self._open[self._submitted] = len(group.trials)
            self._computing |= dict.fromkeys((trial.key for trial in group.trials), self._submitted)
        self._occupancy.note(len(self._open), self._engine.size)
        self._engine.submit(groups, last=last)

    def _hear(self, batch: PointBatch, report: Report) -> None:
        self._handler.take(report)
        if self._unwritten:
            self._note(batch)
        if isinstance(report, Finished | Failed):
            self._leave([report.trial])
            self._end(batch, report.trial)
        elif isinstance(report, Paused):
            self._leave(report.trials)
        self._tell(batch, self._scheduler.take(report))

    def _decide(self, batch: PointBatch, *, closed: bool) -> None:
        self._tell(batch, self._scheduler.decide(closed=closed))

    def _tell(self, batch: PointBatch, reports: Iterable[Decided | Finished]) -> None:
        for report in reports:
            if isinstance(report, Decided) and (checkpoints := self._record.opened().checkpoints) is not None:
                checkpoints.decide(report.decision)  # before it is acted upon: a resume must not decide otherwise
                self._occupancy.begin()
            self._handler.take(report)
            if isinstance(report, Finished):
                self._end(batch, report.trial)

    def _leave(self, trials: Sequence[PlannedTrial]) -> None:
        """Take note that trials are computed no more, and with the last of its group, that a worker is idle."""
        for trial in trials:
            group = self._computing.pop(trial.key)
            self._open[group] -= 1
            if not self._open[group]:
                del self._open[group]
                self._occupancy.note(len(self._open), self._engine.size)

    def _end(self, batch: PointBatch, trial: PlannedTrial) -> None:
        standing = self._tally.standings[trial.key]
        if standing.outcome is not None:
            batch.end(standing)
