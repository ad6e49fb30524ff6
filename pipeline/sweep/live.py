"""The live sweep: it owns engine, data, record and display, and outlives any batch of points."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from pipeline.record.protocol import Provenance
from pipeline.reports import Decided, Failed, Finished, Measured, Paused, Planned, Report
from pipeline.results.criterion import Criterion, check_metric
from pipeline.results.failures import Failures
from pipeline.results.fault_log import FaultLog
from pipeline.results.tally import Tally
from pipeline.signals import StopSignals, raise_swallowed
from pipeline.sweep.batch import PointBatch
from pipeline.sweep.engines import make_engine, widest, worker_count
from pipeline.sweep.follow import ReportHandler
from pipeline.sweep.occupancy import Occupancy
from pipeline.sweep.opening import Header, Record, closing, connect_in_background, make_recorder, open_record
from pipeline.sweep.planning import (
    check_examples,
    expectation,
    load_dataset,
    make_header,
    plan_points,
    shared_config,
    show_not_stopped,
)
from pipeline.sweep.resume import Resumption, resume_command
from pipeline.sweep.source import PointSource
from pipeline.sweep.trial_scheduler import TrialScheduler
from pipeline.tracking.probing import probe

TRIALS_A_WORKER = 12
"""Trials that are proposed for a worker at a time: enough to make full use of fused arithmetic."""


class LiveSweep:
    """A running sweep, a context manager: engine and record start with its first batch and end with the sweep.

    ``overrides`` are the sweep's command-line overrides; None means that its one point is a lone trial, recorded
    without a parent. The checkpoints are written to ``folder``.
    """

    def __init__(self, config: Config, *, overrides: Sequence[str] | None, folder: Path = Path()) -> None:
        self._config, self._overrides, self._folder = config, overrides, folder
        self._console = make_console()
        self._stack = contextlib.ExitStack()
        self._trials: dict[int, PlannedTrial] = {}
        self._computing: dict[str, int] = {}  # the group of each trial that is being computed
        self._open: Counter[int] = Counter()  # how many trials of each group are being computed
        self._submitted = 0
        self._occupancy = Occupancy()
        self._started = False
        self._last = True

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
        """Run the points of a source, and return each one's value, or its failure, by index.

        The value is that of the metric that ranks, the mean over the point's repeats. ``last`` says that no other
        source will follow. ``meanwhile`` is called while engine and store start, and ends before the first trial.

        Raises
        ------
        SweepError
            If the points cannot be run together, or the data, the store or the engine are not available.
        """
        others = in_background(meanwhile or (lambda: None))
        self._last = last
        batch = PointBatch(source, repeats=self._config.sweep.repeats)
        # A resumed source first proposes one point: it identifies the sweep.
        few = bool(source.identity) and self._config.sweep.resume
        points = batch.more(1 if few else TRIALS_A_WORKER * worker_count(self._config))
        shared_config(points, self._config)
        if self._started:
            others.result()
            self._add(batch, points)
        else:
            self._start(batch, points, others)
        self._follow(batch)
        self._record_proposals(batch)
        if self._occupancy.idle >= 0:
            self._handler.handle(Measured(metrics={"workers/idle": self._occupancy.idle}))
        return batch.ends(self._tally.standings, self._failures.error())

    def _start(self, batch: PointBatch, points: Sequence[Point], others: Future[object]) -> None:
        """Load the data, then start store and engine in parallel, since each takes seconds.

        The engine starts in the main thread, since Ray sets signal handlers, and only after the data have been
        validated. Nothing is recorded of a sweep whose engine cannot start.
        """
        config, lone = self._config, self._overrides is None
        probe(config.tracking.uri, create=True, experiment=config.tracking.experiment)
        loading = in_background(lambda: load_dataset(config, self._console))
        recorder = make_recorder(config, self._folder, lone=lone)
        self._stack.callback(recorder.drawers.close)
        self._engine = make_engine(config, lone=lone)
        tags, attachments = collect()
        self._dataset = loading.result()
        plan = self._first_plan(batch, points)
        connecting = connect_in_background(recorder)
        self._stack.enter_context(self._engine)
        others.result()
        if sqlite_file(config.tracking.uri) is None:
            connecting.result()  # a server's refusal is raised before anything is shown; a file was probed above

        criterion = Criterion.of(config.sweep, self._dataset)
        expected = expectation(config, plan.trials, self._dataset)
        self._tally = Tally(plan.trials, criterion, share=expected.share if expected else 1.0)
        head = self._header(batch, tags, attachments)
        self._record = Record(
            recorder, in_background(lambda: open_record(recorder, connecting, config, head, self._folder))
        )
        self._failures = Failures(len(plan.trials), FaultLog(self._folder))
        self._scheduler = TrialScheduler(config, self._dataset, criterion, widest=widest(config, self._dataset))
        self._stack.push(self._show_end)
        display = self._stack.enter_context(Display(self._console, self._tally))
        self._stack.enter_context(closing(self._record, self._engine, self._tally, display.print_line))
        self._handler = ReportHandler(self._record, self._tally, display, self._failures)
        self._started = True
        self._begin(batch, points, plan)

    def _first_plan(self, batch: PointBatch, points: Sequence[Point]) -> Plan:
        """Return the plan of the first points, with its notices printed.

        Refuse a metric that no trial reports, and what may be proposed later and cannot be computed.
        """
        check_examples(batch.examples, self._config, self._dataset)
        plan = plan_points(points, self._dataset, self._config)
        for metric in batch.metrics:
            asked = dataclasses.replace(self._config.sweep, metric=metric)
            check_metric(asked, [trial.trial for trial in plan.trials], self._dataset, key="hydra.sweeper.metrics")
        show_folded(self._console, plan)
        show_not_stopped(self._config, plan, self._console)
        return plan

    def _header(self, batch: PointBatch, tags: Mapping[str, str], attachments: Mapping[str, str]) -> Header:
        """Return the header of the record; the parent run of a sweep keeps the attachments for all its trials."""
        if self._overrides is None:
            provenance = Provenance(tags=tags, attachments=attachments)
            return Header(sweep=None, dataset=self._dataset, provenance=provenance)
        sweep = make_header(
            self._overrides,
            self._config,
            self._tally,
            self._dataset,
            tags,
            attachments,
            identity=batch.identity,
            keys=batch.keys,
        )
        return Header(sweep=sweep, dataset=self._dataset, provenance=Provenance(tags=tags))

    def _begin(self, batch: PointBatch, points: Sequence[Point], plan: Plan) -> None:
        """Load the data into the engine, and schedule the first points, after those of an earlier process."""
        self._engine.load(self._dataset)
        self._resumption = self._resumed()
        if self._resumption.proposals:
            points, plan = self._recall(batch, points)
        elif batch.identity and self._config.sweep.resume:  # of which one point is known so far
            points, plan = self._extended(batch, points, TRIALS_A_WORKER * worker_count(self._config))
        if self._resumption.found:
            show_past(self._console, self._resumption.counts(self._tally.standings), self._resumption.damaged)
        self._record_proposals(batch)
        self._scheduler.replay(self._resumption.decisions)
        self._schedule(batch, points, plan)

    def _show_end(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, Interrupted) and self._overrides is not None:
            show_how_to_resume(self._console, resume_command())
        show_table(self._console, self._tally)
        if self._occupancy.idle >= 0:
            idle = f"workers were idle {100 * self._occupancy.idle:.0f} % of the time after the first rung"
            self._console.print(idle)

    def _resumed(self) -> Resumption:
        """Return the state that an earlier process has left, if the sweep is resumed."""
        if not self._config.sweep.resume:
            if sqlite_file(self._config.tracking.uri) is None:
                self._record.opened()  # a server's refusal is raised before anything is computed; a file was probed
            return Resumption()
        opened = self._record.opened()
        if opened.past is None:
            self._console.print(opened.unresumed, markup=False, soft_wrap=True)
            return Resumption()
        return Resumption.of(opened.past, opened.checkpoints)

    def _recall(self, batch: PointBatch, points: Sequence[Point]) -> tuple[Sequence[Point], Plan]:
        """Have a source repeat its proposals of an earlier process, and return all points and their plan."""
        proposals = [overrides for made in self._resumption.proposals for overrides in made]
        self._console.print(f"{len(proposals)} proposals of the earlier process are repeated")
        batch.recall(proposals)
        return self._extended(batch, points, len(proposals))

    def _extended(self, batch: PointBatch, points: Sequence[Point], room: int) -> tuple[Sequence[Point], Plan]:
        """Return the first points with about ``room`` more, and their plan."""
        points = [*points, *batch.more(room)]
        shared_config(points, self._config)
        plan = plan_points(points, self._dataset, self._config)
        known = self._tally.standings
        new = tuple(trial for trial in plan.trials if trial.key not in known)
        for trial in plan.trials:
            if trial.key in known:
                known[trial.key].trial = trial  # it was named before the others were there
        self._failures.expect(len(new))
        self._handler.handle(Planned(trials=new))
        return points, plan

    def _add(self, batch: PointBatch, points: Sequence[Point]) -> None:
        """Add further points to the sweep."""
        shared_config(points, self._config)
        known, swept = list(self._trials.values()), self._tally.swept_values
        plan = plan_points(points, self._dataset, self._config, known=known, swept=swept)
        self._failures.expect(len(plan.trials))
        self._handler.handle(Planned(trials=plan.trials))
        self._record_proposals(batch)
        self._schedule(batch, points, plan)

    def _record_proposals(self, batch: PointBatch) -> None:
        """Record a source's proposals, on the disk before they are acted upon, so that a resume repeats them.

        The first proposals do not wait for the record to open: a resume makes the same ones again in any case.
        """
        if (news := batch.news()) is not None:
            self._handler.handle(news)
            if self._record.is_open:
                self._record.sync()

    def _schedule(self, batch: PointBatch, points: Sequence[Point], plan: Plan) -> None:
        """Schedule the trials of points, except those that have already ended."""
        self._trials |= {trial.index: trial for trial in plan.trials}
        batch.assign(points, plan, self._trials)
        for trials in self._resumption.in_batches(plan.trials, repeats=self._config.sweep.repeats):
            self._scheduler.add(trials)
        for trial in plan.trials:
            if trial.key in self._resumption.ended:
                result = self._resumption.ended[trial.key]
                self._tally.add_ended(trial.key, result)
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
                self._process(batch, report)
                if self._tally.failed and self._config.sweep.fail_fast:
                    return
                if isinstance(report, Finished | Failed | Paused):
                    self._submit(batch)
            self._decide(batch, closed=True)  # nothing runs: no trial will arrive before the next decision
            self._submit(batch)

    def _submit(self, batch: PointBatch) -> None:
        """Submit groups for the idle workers: trials that go on, and trials of more points."""
        self._decide(batch, closed=batch.done)
        while (idle := self._engine.size - len(self._open)) > 0:
            groups = self._scheduler.groups(idle)
            if groups:
                self._hand_over(groups, last=self._last and batch.done and self._scheduler.settled)
            elif batch.done or not (points := batch.more(TRIALS_A_WORKER * idle)):
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

    def _process(self, batch: PointBatch, report: Report) -> None:
        self._handler.handle(report)
        if isinstance(report, Finished | Failed):
            self._release([report.trial])
            self._end(batch, report.trial)
        elif isinstance(report, Paused):
            self._release(report.trials)
        self._process_own(batch, self._scheduler.process(report))

    def _decide(self, batch: PointBatch, *, closed: bool) -> None:
        self._process_own(batch, self._scheduler.decide(closed=closed))

    def _process_own(self, batch: PointBatch, reports: Iterable[Decided | Finished]) -> None:
        for report in reports:
            self._handler.handle(report)
            if isinstance(report, Finished):
                self._end(batch, report.trial)
            elif self._overrides is not None:
                self._record.sync()  # before it is acted upon, so that a resume replays it
                self._occupancy.begin()

    def _release(self, trials: Sequence[PlannedTrial]) -> None:
        """Record that trials are no longer computed, and after the last of a group, that a worker is idle."""
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
