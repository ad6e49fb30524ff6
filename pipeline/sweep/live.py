"""The live sweep: it owns engine, data, record and display, and outlives any batch of points."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.address import sqlite_file
from pipeline.background import in_background
from pipeline.config.identity import code_version
from pipeline.config.schema import Config
from pipeline.config.settings import counted
from pipeline.display.console import Display, Loading, make_console, plain_console, show_past, show_table
from pipeline.errors import Interrupted, UndrawnError
from pipeline.plan.plan import Group, Plan, PlannedTrial, Point
from pipeline.provenance import collect
from pipeline.record.protocol import Resumption
from pipeline.reports import Decided, Failed, Finished, Measured, Paused, Planned, Report
from pipeline.results.criterion import Criterion
from pipeline.results.failures import Failures
from pipeline.results.fault_log import FaultLog
from pipeline.results.tally import Tally
from pipeline.signals import StopSignals, deferred, raise_swallowed
from pipeline.sweep.batch import PointBatch
from pipeline.sweep.engines import group_count, make_engine, widest
from pipeline.sweep.follow import ReportHandler
from pipeline.sweep.occupancy import Occupancy
from pipeline.sweep.opening import Header, OpenRecord, Record, closing, make_recorder, open_record
from pipeline.sweep.planning import expectation, first_plan, make_header, plan_points, shared_config, values_of
from pipeline.sweep.resume import resume_command
from pipeline.sweep.source import PointSource
from pipeline.sweep.trial_scheduler import TrialScheduler
from pipeline.tracking.connection import connect, import_store, probe
from tasks.cost import DataSize, step_cost
from tasks.datasets.source import load

TRIALS_A_WORKER = 12
"""Trials that are proposed for a worker at a time: enough to make full use of fused arithmetic."""


class LiveSweep:
    """A running sweep, a context manager: engine and record start with its first batch and end with the sweep.

    ``overrides`` are the sweep's command-line overrides; None means that its one point is a lone trial, recorded
    without a parent. The checkpoints are written to ``folder``. ``started`` says that it was not refused: it has a
    record.
    """

    def __init__(self, config: Config, *, overrides: Sequence[str] | None, folder: Path = Path()) -> None:
        self._config, self._overrides, self._folder = config, overrides, folder
        self._console = make_console()
        self._stack = contextlib.ExitStack()
        self._computing: dict[str, set[str]] = {}  # what is left of the group of each trial that is being computed
        self._busy = 0  # how many groups are being computed
        self._size = 0  # for how many workers groups were submitted
        self._closed = False  # whether the engine knows that no more will be
        self._occupancy = Occupancy()
        self.started = False
        self._last = True

    def __enter__(self) -> Self:
        raise_swallowed()
        self._stack.enter_context(StopSignals())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        undrawn: UndrawnError | None = None
        try:
            self._stack.__exit__(kind, error, traceback)
        except UndrawnError as missing:
            undrawn = missing
        if error is None and self.started:
            self._console.print(self._record.recorder.how_to_look(), markup=False, soft_wrap=True)
        if undrawn is not None:
            raise undrawn

    def run(
        self, source: PointSource, *, last: bool = True, meanwhile: Callable[[], object] = lambda: None
    ) -> dict[int, float | Exception]:
        """Run the points of a source, and return each one's value, or its failure, by index.

        The value is that of the metric that ranks, the mean over the point's repeats. ``last`` says that no other
        source will follow. ``meanwhile`` is called while engine and store start, and ends before the first trial.

        Raises
        ------
        SweepError
            If the points cannot be run together, or the data, the store or the engine are not available.
        """
        self._last = last
        self._batch = PointBatch(source, repeats=self._config.sweep.repeats)
        # A resumed source first proposes one point: it identifies the sweep.
        few = bool(source.identity) and self._config.sweep.resume
        points = self._batch.more(0 if few else self._room())
        shared_config(points, self._config)
        if self.started:
            meanwhile()
            self._add(points)
        else:
            self._start(points, meanwhile)
        self._follow()
        self._record_proposals()
        if self._occupancy.idle >= 0:
            self._handler.handle(Measured(metrics={"workers/idle": self._occupancy.idle}))
        return self._batch.ends(self._tally.standings, self._failures.error())

    def _start(self, points: Sequence[Point], meanwhile: Callable[[], object]) -> None:
        """Load the data, then start the engine, then connect to the store while the workers start.

        The engine starts in the main thread, since Ray sets signal handlers, and only after the data have been
        validated. Nothing is recorded of a sweep whose engine cannot start.
        """
        config, lone = self._config, self._overrides is None
        probe(config.tracking.uri, create=True, experiment=config.tracking.experiment)
        with Loading(self._console) as show:  # in this thread, where a signal ends it
            loading = in_background(lambda: load(config.dataset, progress=show))
            recorder = make_recorder(config, self._folder, lone=lone)
            self._stack.callback(recorder.drawers.close)
            # Python imports MLflow while this process waits for Ray's: earlier, it would delay those.
            uri = recorder.uri
            self._engine = make_engine(config, lone=lone, meanwhile=lambda: in_background(lambda: import_store(uri)))
            provenance = collect()
            code_version()  # cached: the keys of the trials need it once the data are there
            self._dataset = loading.result()
        source = self._batch.source
        self._named = values_of(source.examples)
        plan = first_plan(points, source, self._dataset, config, self._console, self._named)
        others = in_background(meanwhile)  # a sweep that is refused leaves nothing behind
        self._stack.callback(others.exception)  # waits for its end, also where the engine refuses the sweep
        self._stack.enter_context(self._engine)
        connecting = in_background(lambda: connect(uri, create=True, experiment=config.tracking.experiment))
        others.result()
        if sqlite_file(config.tracking.uri) is None:
            connecting.result()  # a server's refusal is raised before anything is shown; a file was probed above

        criterion = Criterion.of(config.sweep, self._dataset, source.objectives)
        expected = expectation(config, plan.trials, self._dataset)
        share, of_step = expected.share if expected else 1.0, partial(step_cost, data_size=DataSize.of(self._dataset))
        self._tally = Tally(plan.trials, criterion, share=share, step_cost=of_step)
        sweep = None if lone else make_header(self._overrides or (), config, self._tally, self._dataset, source)
        head = Header(sweep=sweep, dataset=self._dataset, provenance=provenance)
        self._failures = Failures(self._tally.standings, FaultLog(self._folder))
        most = widest(config, self._dataset, lone=lone)
        self._scheduler = TrialScheduler(config, self._dataset, criterion, widest=most, folder=self._folder)
        self._stack.push(self._show_end)
        display = self._stack.enter_context(Display(self._console, self._tally, lambda: self._batch.to_come))
        self.started = True
        # Last, and together with its closing: a signal between the two would leave a run that is never ended.
        with deferred("the record has to be closed"):
            opening = in_background(lambda: open_record(recorder, connecting, config, head, self._folder))
            self._record = Record(recorder, opening)
            self._stack.enter_context(closing(self._record, self._engine, self._tally, display.print_line))
        self._handler = ReportHandler(self._record, self._tally, display, self._failures)
        self._begin(points, plan)

    def _room(self) -> int:
        """Return for how many trials there is room before the engine starts."""
        return TRIALS_A_WORKER * group_count(self._config, lone=self._overrides is None)

    def _begin(self, points: Sequence[Point], plan: Plan) -> None:
        """Load the data into the engine, and schedule the first points, after those of an earlier process."""
        self._engine.load(self._dataset)
        found = self._found()
        self._resumption = found.resumption or Resumption()
        self._saved = found.checkpoints.load() if found.checkpoints else {}
        proposals = [params for made in self._resumption.proposals for params in made]
        if proposals:
            self._console.print(f"repeated from the earlier process: {counted(len(proposals), 'proposal')}")
            self._batch.source.recall(proposals)
        if self._batch.source.identity and self._config.sweep.resume:  # of which one point is known so far
            points, plan = self._extended(points, len(proposals) or self._room())
        if found.resumption and found.checkpoints:
            known, ended = self._tally.standings.keys(), self._tally.standings.keys() & self._resumption.ended.keys()
            further = len(known & self._saved.keys() - ended)
            counts = len(ended), further, len(known) - len(ended) - further
            show_past(self._console, counts, found.checkpoints.damaged)
        self._record_proposals()
        self._scheduler.replay(self._resumption.decisions)
        self._schedule(points, plan)

    def _show_end(self, _kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if isinstance(error, Interrupted) and self._overrides is not None:
            unread = error.number == signal.SIGPIPE
            console = plain_console(stderr=True) if unread else self._console
            why = "stopped, as nobody reads its output; " if unread else ""
            console.print(f"{why}to finish this sweep: {resume_command()}", markup=False, soft_wrap=True)
        show_table(self._console, self._tally)
        if self._occupancy.idle >= 0:
            idle = f"workers were idle {100 * self._occupancy.idle:.0f} % of the time after the first rung"
            self._console.print(idle)

    def _found(self) -> OpenRecord:
        """Return the record with what an earlier process has left in it, an empty one if the sweep is not resumed."""
        if not self._config.sweep.resume:
            if sqlite_file(self._config.tracking.uri) is None:
                self._record.opened()  # a server's refusal is raised before anything is computed; a file was probed
            return OpenRecord()
        opened = self._record.opened()
        if opened.unresumed:
            self._console.print(opened.unresumed, markup=False, soft_wrap=True)
        return opened

    def _extended(self, points: Sequence[Point], room: int) -> tuple[Sequence[Point], Plan]:
        """Return the first points with about ``room`` more, and their plan."""
        points = [*points, *self._batch.more(room)]
        shared_config(points, self._config)
        plan = plan_points(points, self._dataset, self._config, swept=self._named)
        known = self._tally.standings
        new = tuple(trial for trial in plan.trials if trial.key not in known)
        for trial in plan.trials:
            if trial.key in known:
                known[trial.key].trial = trial  # it was named before the others were there
        self._handler.handle(Planned(trials=new))
        return points, plan

    def _add(self, points: Sequence[Point]) -> None:
        """Add further points to the sweep."""
        shared_config(points, self._config)
        known = [standing.trial for standing in self._tally.standings.values()]
        swept = self._named or self._tally.swept_values
        plan = plan_points(points, self._dataset, self._config, known=known, swept=swept)
        self._handler.handle(Planned(trials=plan.trials))
        self._record_proposals()
        self._schedule(points, plan)

    def _record_proposals(self) -> None:
        """Record a source's proposals, on the disk before they are acted upon, so that a resume repeats them.

        The first proposals do not wait for the record to open: a resume makes the same ones again in any case.
        """
        if (news := self._batch.source.news()) is not None:
            self._handler.handle(news)
            if self._record.is_open:
                self._record.sync()

    def _schedule(self, points: Sequence[Point], plan: Plan) -> None:
        """Schedule the trials of points, except those that have already ended."""
        for trials in self._resumption.in_batches(plan.trials, repeats=self._config.sweep.repeats):
            self._scheduler.add(trials)
        for trial in plan.trials:
            saved = self._saved.pop(trial.key, None)
            if trial.key in self._resumption.ended:
                result = self._resumption.ended[trial.key]
                self._tally.add_ended(trial.key, result)
                self._scheduler.end(trial, result, self._resumption.curves.pop(trial.key, None))
            else:
                self._scheduler.schedule(trial, saved)
        self._batch.assign(points, plan, self._tally.standings.values())

    def _follow(self) -> None:
        """Compute until every point of the batch has ended."""
        self._submit()
        while self._busy:
            for report in self._engine.reports():
                self._process(report)
                if self._tally.failed and self._config.sweep.fail_fast:
                    return
                if isinstance(report, Finished | Failed | Paused) or self._engine.size > self._size:
                    self._submit()
            # Nothing runs: no trial will arrive before the next decision.
            self._process_own(self._scheduler.decide(closed=True))
            self._submit()

    def _submit(self) -> None:
        """Submit groups for the idle workers: trials that go on, and trials of more points."""
        source, self._size = self._batch.source, self._engine.size
        source.scale_to(self._size)
        self._process_own(self._scheduler.decide(closed=source.done))
        while (idle := self._engine.size - self._busy) > 0:
            groups = self._scheduler.groups(idle)
            if not groups and not source.done and (points := self._batch.more(TRIALS_A_WORKER * idle)):
                self._add(points)
                continue
            last = self._last and source.done and self._scheduler.settled
            if groups or last > self._closed:  # by then idle workers are of no more use
                self._hand_over(groups, last=last)
            if not groups:
                return

    def _hand_over(self, groups: Sequence[Group], *, last: bool) -> None:
        self._closed = last
        for group in groups:
            keys = {trial.key for trial in group.trials}
            self._computing |= dict.fromkeys(keys, keys)  # one set for all
        self._busy += len(groups)
        self._occupancy.note(self._busy, self._engine.size)
        self._engine.submit(groups, last=last)

    def _process(self, report: Report) -> None:
        self._handler.handle(report)
        if isinstance(report, Finished | Failed):
            self._release([report.trial])
            self._batch.end(self._tally.standings[report.trial.key])
        elif isinstance(report, Paused):
            self._release(report.trials)
        self._process_own(self._scheduler.process(report))

    def _process_own(self, reports: Iterable[Decided | Finished]) -> None:
        for report in reports:
            self._handler.handle(report)
            if isinstance(report, Finished):
                self._batch.end(self._tally.standings[report.trial.key])
            elif self._overrides is not None:
                self._record.sync()  # before it is acted upon, so that a resume replays it
                self._occupancy.begin()

    def _release(self, trials: Sequence[PlannedTrial]) -> None:
        """Record that trials are no longer computed, and after the last of a group, that a worker is idle."""
        for trial in trials:
            group = self._computing.pop(trial.key)
            group.remove(trial.key)
            if not group:
                self._busy -= 1
                self._occupancy.note(self._busy, self._engine.size)
