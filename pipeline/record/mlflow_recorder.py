"""The recorder that writes a sweep to MLflow: a parent run, a child run a trial, in the background, in batches."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pipeline.address import absolute, how_to_look, is_http, redact, unreachable
from pipeline.errors import RecordError
from pipeline.plan.plan import PlannedTrial
from pipeline.record import sweep_run, trial_run
from pipeline.record.delivery import Delivery
from pipeline.record.drawings import Drawers, Drawings, Drawn, InThisThread
from pipeline.record.journal import JOURNALS, Head, Journal
from pipeline.record.outbox import Outbox
from pipeline.record.protocol import CHECKPOINTS, Provenance, SweepHeader
from pipeline.record.relocation import PLACES
from pipeline.record.resumption import SWEEP_KEY, adopt, has_figures, recall
from pipeline.record.scribe import Scribe, is_refusal
from pipeline.record.sqlite_store import open_store
from pipeline.record.store import WRITING, settings
from pipeline.record.sweep_run import SweepRun
from pipeline.record.tags import run_tags
from pipeline.record.trial_log import FROM, HOST
from pipeline.record.trial_run import TrialRun
from pipeline.record.writer import Writer
from pipeline.reports import (
    Decided,
    Failed,
    Finished,
    Measured,
    Planned,
    Printed,
    Progressed,
    RecordedReport,
    Retried,
    Searched,
    Started,
    TrialReport,
)
from pipeline.results.fault_log import FaultLog, brief
from tasks.datasets.dataset import Dataset
from tasks.events import Result

FLUSH_SECONDS = 1.0

DRAWN_TRIALS = 20
"""Trainings of a larger sweep get no figures, but for the winner: drawing them all would slow the sweep down."""

SHOWN_EXAMPLES = 500
"""Examples of a split that the figures of a trial may choose from."""

CURVE_POINTS = 200
"""Points of a curve that are kept in memory for the figures of a larger sweep: one for every two pixels of a panel."""


class MlflowRecorder:
    """Records to the MLflow store at ``uri`` (an SQLite file, a database or a server), in ``experiment``.

    It may be told of trials while `open` has not returned: that is written once the store is open.

    What a store that does not answer keeps waiting is kept in a journal beside the sweep's checkpoints, else in
    ``folder``. ``figures`` draws the
    figures kept with a lone trial and a sweep's winner, ``quick_figures`` those of the other trials of a sweep,
    ``sweep_figures`` those of the sweep itself, ``search_figures`` those of a search;
    ``drawers`` has them drawn, by default at once, until `close` ends
    them. ``register_model`` says whether a sweep's winner becomes a version of a registered model.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        *,
        folder: Path = Path(),
        figures: trial_run.Figures | None = None,
        quick_figures: trial_run.QuickFigures | None = None,
        sweep_figures: Sequence[sweep_run.Figure] = (),
        search_figures: Callable[[Searched], Drawn] | None = None,
        drawers: Drawers | None = None,
        register_model: bool = False,
    ) -> None:
        self.uri = absolute(uri)
        self._experiment, self._folder, self._journals = experiment, folder, folder
        self._head = Head(uri=redact(self.uri), experiment=experiment)
        self._figures, self._quick_figures, self._sweep_figures = figures, quick_figures, sweep_figures
        self._search_figures = search_figures
        self._register_model = register_model
        self._runs: dict[str, TrialRun] = {}
        self._past: Mapping[str, str] = {}
        self._parent: SweepRun | None = None
        self._outbox = Outbox()
        self.drawers = drawers or InThisThread()
        self._drawings = Drawings(self.drawers)
        self._writer = Writer(self._flush, interval=FLUSH_SECONDS)
        self._limits = contextlib.ExitStack()
        self._hurry = threading.Event()

    def open(self, sweep: SweepHeader | None, dataset: Dataset, provenance: Provenance) -> None:
        """Reach the store and start the sweep's parent run, or raise a `RecordError`."""
        self._store = open_store(self.uri, self._experiment)
        self._dataset, self._provenance = dataset, provenance
        self._limits.enter_context(settings(WRITING if is_http(self.uri) else {}))
        if sweep is not None:
            try:
                self._open_sweep(sweep)
            except Exception as error:
                self._limits.close()
                if is_refusal(error):
                    raise
                raise unreachable(self.uri, error) from error
        self._drawn = sweep is None or len(sweep.trials) <= DRAWN_TRIALS
        self._scribe = Scribe(self._store)
        self._delivery = Delivery(self._scribe, self._make_journal, FaultLog(self._folder), self._hurry)
        self._writer.start()

    def take(self, report: RecordedReport) -> None:
        """Write a report down; a trial is started once, and a point that comes twice is written once."""
        if isinstance(report, Progressed):
            # What draws gets ready when there is something to draw: earlier it would take the CPU that the workers'
            # start and the first step need.
            self.drawers.start()
        now = _now()
        self._writer.submit(lambda: self._write(report, now))

    def close(self, status: str) -> None:
        """Write the result table, end the parent run as FINISHED, FAILED or KILLED, and flush everything.

        Raises
        ------
        RecordError
            If anything, now or before, could not be written.
        """
        self._writer.submit(lambda: self._kill(_now()))
        if self._parent is not None:
            self._close_sweep(self._parent, status)
        self._writer.submit(lambda: self._drawings.close(self._outbox))
        errors = self._writer.close() + self._drawings.errors
        try:
            journal, reason = self._delivery.close(stopped=status == "KILLED")
        finally:
            self._limits.close()
        errors += self._delivery.refused
        if errors or reason:
            raise self._error(errors, reason, journal) from (errors[0] if errors else None)

    def hurry(self) -> None:
        """Have `close` wait no longer for a store that does not answer; one that does still gets the rest."""
        self._hurry.set()

    def run_id(self, trial: PlannedTrial) -> str | None:
        """Return MLflow's name for the trial's run, None until it is created."""
        run = self._runs.get(trial.key)
        return self._scribe.id_of(run.id) if run and run.id else None

    def how_to_look(self) -> str:
        """Return the command line that opens the record, followed by a link to the sweep's charts."""
        sweep = self._parent.id if self._parent else None
        lone = None if sweep else next((self.run_id(run.trial) for run in list(self._runs.values())), None)
        return how_to_look(self.uri, self._store.experiment_id, sweep=sweep, run=lone)

    @property
    def busy(self) -> float:
        """The CPU time that writing has taken, in seconds."""
        return self._writer.busy + self._delivery.busy

    def _open_sweep(self, sweep: SweepHeader) -> None:
        tags = run_tags(sweep.provenance, sweep.overrides, self._dataset)
        tags |= {SWEEP_KEY: sweep.key}
        places = {name: tags[name] for name in PLACES if name in tags}
        resumed = "0" if sweep.past is None else adopt(self._store, sweep.past, _now(), places)
        if CHECKPOINTS in sweep.provenance:
            # Where a resume looks for it, also once the sweep has been resumed from another folder.
            self._journals = Path(sweep.provenance[CHECKPOINTS]).parent
        self._parent = SweepRun(self._store, sweep, self._dataset, tags, self.uri)
        self._head = dataclasses.replace(self._head, parent=self._parent.id, resumed=resumed)
        self._parent.describe(self._outbox, self._runs, "RUNNING")
        self._past = {} if sweep.past is None else {key: run_id for key, (run_id, _) in sweep.past.ended.items()}
        for trial in sweep.trials:
            if trial.key in self._past:
                self._reuse(trial, self._past[trial.key])

    def _plan(self, trials: Sequence[PlannedTrial]) -> None:
        """Take in trials that the sweep did not begin with."""
        if self._parent is not None:
            self._parent.tally.add(trials)
        for trial in trials:
            if trial.key in self._past:
                self._reuse(trial, self._past[trial.key])

    def _reuse(self, trial: PlannedTrial, run_id: str) -> None:
        """Take the run of a trial that ended in an earlier process for the trial's own."""
        run = self._runs[trial.key] = TrialRun(trial, _now())
        self._writer.submit(lambda: self._recall(run, run_id))

    def _write(self, report: RecordedReport, now: int) -> None:
        """Write a report down that came at ``now`` (milliseconds since the epoch)."""
        match report:
            case Planned(trials=trials):
                self._plan(trials)
            case Decided():
                if self._parent is not None:
                    self._parent.decide(report, self._outbox)
            case Searched():
                self._search(report)
            case Measured(metrics=metrics):
                if self._parent is not None:
                    self._parent.measure(metrics, self._outbox)
            case Retried(attempt=attempt, step=step, error=error):
                for trial in report.trials:
                    self._run(trial, now).retry(self._outbox, attempt, f"{error}; from step {step}", now)
            case _:
                self._write_of_trial(report, now)

    def _write_of_trial(self, report: TrialReport, now: int) -> None:
        place = {HOST: report.host, FROM: str(report.step)} if isinstance(report, Started) else {}
        run = self._run(report.trial, now, place)
        try:
            match report:
                case Progressed(curve=curve):
                    run.add(self._outbox, curve, now)
                case Printed(text=text):
                    run.say(text)
                case Finished(result=result, layout=layout):
                    run.finish(self._outbox, self._dataset, result, layout, now)
                case Failed(error=error, traceback=traceback):
                    run.fail(self._outbox, error, traceback, now)
        finally:
            if self._parent is not None:
                self._parent.take(report)
        if isinstance(report, Finished):
            self._draw_ended(run, report.result)

    def _search(self, report: Searched) -> None:
        if self._parent is not None:
            self._parent.search(self._outbox, report)

    def _run(self, trial: PlannedTrial, now: int, place: Mapping[str, str] = MappingProxyType({})) -> TrialRun:
        """Return the run of a trial, started if it is not: at ``place``, where that is known."""
        if trial.key not in self._runs:
            run = self._runs[trial.key] = TrialRun(trial, now)
            tags = run_tags({**self._provenance.tags, **place}, trial.overrides, self._dataset)
            if self._parent is not None:
                tags |= {"mlflow.parentRunId": self._parent.id, **self._parent.setting(trial)}
                tags |= self._parent.proposal_tags(trial)
            attachments = self._provenance.attachments
            files = {f"provenance/{name}": text.encode() for name, text in attachments.items()}
            run.start(self._outbox, self._dataset, tags, files)
        return self._runs[trial.key]

    def _kill(self, now: int) -> None:
        for run in self._runs.values():
            if not run.ended:
                run.kill(self._outbox, now)

    def _draw_ended(self, run: TrialRun, result: Result) -> None:
        if self._parent is None:
            self._draw(run, result)
        else:
            self._draw_quickly(run, result)
        self._slim(run)

    def _close_sweep(self, parent: SweepRun, status: str) -> None:
        self._writer.submit(lambda: parent.end(self._outbox, self._runs, status))
        # The record is whole before anything is drawn: who stops the process now loses pictures only.
        self._writer.submit(self._flush)
        self._writer.submit(lambda: self._draw_winner(parent))  # the longest comes first
        self._writer.submit(lambda: parent.draw(self._drawings, self._runs, self._sweep_figures, self._search_figures))
        if self._register_model:
            name = re.sub(r"[^\w-]+", "-", f"{self._experiment}-{self._dataset.name}")
            self._writer.submit(lambda: parent.register(self._outbox, self._runs, name))
            self._writer.submit(self._flush)  # it is registered while the figures are drawn

    def _draw_winner(self, parent: SweepRun) -> None:
        if parent.winner is not None:
            self._draw(self._runs[parent.winner.trial.key], parent.winner.result)

    def _draw(self, run: TrialRun, result: Result) -> None:
        if self._figures is not None:
            run.draw(self._drawings, self._figures, result, self._dataset.sample(SHOWN_EXAMPLES))

    def _draw_quickly(self, run: TrialRun, result: Result) -> None:
        # What a task other than training has to show is its figure.
        if self._quick_figures is not None and (self._drawn or not run.trial.trial.task.trains):
            run.draw_quickly(self._drawings, self._quick_figures, result)

    def _error(self, errors: Sequence[Exception], reason: str, journal: Path | None) -> RecordError:
        address, what = redact(self.uri), []
        if errors:
            what.append(f"the record lacks what {len(errors)} failed writes held, the first: {brief(errors[0])}")
        if reason:
            what.append(f"the record is not whole: {reason}")
        if journal is not None:
            credentials = " --tracking-uri URI" if address != self.uri else ""
            command = f"python -m pipeline.backfill {shlex.quote(str(journal))}{credentials}"
            what.append(f"what it lacks is written by: {command}")
        rule = f"tracking.uri must stay a store that can be written to, got {address!r}"
        return RecordError(f"{rule}: {redact('; '.join(what))}")

    def _recall(self, run: TrialRun, run_id: str) -> None:
        curves, result, layout = recall(self.uri, run_id)
        run.recall(run_id, curves, result)
        if self._parent is not None:
            self._parent.take(Finished(trial=run.trial, result=result, layout=layout))
            if not has_figures(self.uri, run_id):  # its process was killed before they were drawn
                self._draw_quickly(run, result)
            self._slim(run)

    def _flush(self) -> None:
        if self._parent is not None:
            self._parent.refresh(self._outbox, self._runs)
        self._drawings.keep(self._outbox)
        self._delivery.post(self._outbox.take())

    def _slim(self, run: TrialRun) -> None:
        """Forget most points of an ended trial of a larger sweep, unless it is the winner so far."""
        winner = None if self._parent is None else self._parent.winner
        if not self._drawn and (winner is None or winner.trial.key != run.trial.key):
            run.points.thin(CURVE_POINTS)

    def _make_journal(self) -> Journal:
        return Journal.create(self._journals.absolute() / JOURNALS.replace("*", str(time.time_ns())), self._head)


def _now() -> int:
    return time.time_ns() // 1_000_000
