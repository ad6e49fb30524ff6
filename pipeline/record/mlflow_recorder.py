"""The recorder that writes a sweep to MLflow: all that is reported is in the log first, and then in the store."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
import shlex
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.address import absolute, how_to_look, is_http, redact, unreachable
from pipeline.errors import RecordError
from pipeline.plan.plan import PlannedTrial
from pipeline.record import sweep_run, trial_run
from pipeline.record.drawings import Drawers, Drawings, Drawn, InThisThread
from pipeline.record.entries import Closed, Data, Drew, Opened, Recalled, Resumed
from pipeline.record.exporter import Batch, Exporter
from pipeline.record.log import LOGS, DamagedError, Log
from pipeline.record.model import trained
from pipeline.record.protocol import Past, Provenance, SweepHeader
from pipeline.record.relocation import LOG, PLACES
from pipeline.record.resumption import SWEEP_KEY, adopt, has_figures, recall
from pipeline.record.runs import Runs
from pipeline.record.sqlite_store import open_store
from pipeline.record.store import ENTRIES, WRITING, is_refusal, settings
from pipeline.record.tags import run_tags
from pipeline.record.timing import TIMING, Timing
from pipeline.record.trial_run import TrialRun
from pipeline.record.view import view
from pipeline.record.writer import Writer
from pipeline.reports import Finished, Planned, Progressed, RecordedReport, Searched
from pipeline.results import summary
from pipeline.results.fault_log import FaultLog, brief
from tasks.datasets.dataset import Dataset
from tasks.events import Result

_log = logging.getLogger(__name__)

DRAWN_TRIALS = 20
"""Trainings of a larger sweep get no figures, but for the winner: drawing them all would slow the sweep down."""

SHOWN_EXAMPLES = 500
"""Examples of a split that the figures of a trial may choose from."""

CURVE_POINTS = 200
"""Points of a curve that are kept in memory for the figures of a larger sweep: one for every two pixels of a panel."""


class MlflowRecorder:
    """Records to the MLflow store at ``uri`` (an SQLite file, a database or a server), in ``experiment``.

    It may be told of trials while `open` has not returned: that is written once the store is open.

    All that it is told is in a log in ``folder`` before it is in the store, and stays there; without a folder only
    until the store has it. ``figures`` draws the figures kept with a lone trial and a sweep's winner,
    ``quick_figures`` those of the other trials of a sweep, ``sweep_figures`` those of the sweep itself and
    ``search_figures`` those of a search; ``drawers`` has them drawn, by default at once, until `close` ends them.
    ``register_model`` says whether a sweep's winner becomes a version of a registered model, ``timing`` how often it
    writes, and how long it waits for a store that does not answer.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        *,
        folder: Path | None = None,
        figures: trial_run.Figures | None = None,
        quick_figures: trial_run.QuickFigures | None = None,
        sweep_figures: Sequence[sweep_run.Figure] = (),
        search_figures: Callable[[Searched], Drawn] | None = None,
        drawers: Drawers | None = None,
        register_model: bool = False,
        timing: Timing = TIMING,
    ) -> None:
        self.uri = absolute(uri)
        self._experiment, self._folder = experiment, folder
        self._figures, self._quick_figures, self._sweep_figures = figures, quick_figures, sweep_figures
        self._search_figures = search_figures
        self._register_model = register_model
        self._log: Log | None = None
        self._unwritable: OSError | None = None
        self._results: dict[str, Result] = {}
        self._past: Mapping[str, tuple[str, Result]] = {}
        self._lock = threading.Lock()  # of the runs and of their outbox
        self.drawers = drawers or InThisThread()
        self._drawings = Drawings(self.drawers)
        self._timing = timing
        self._writer = Writer(self._flush, interval=timing.flush)
        self._limits = contextlib.ExitStack()
        self._hurry = threading.Event()

    def open(self, sweep: SweepHeader | None, dataset: Dataset, provenance: Provenance) -> Past | None:
        """Reach the store and start the sweep's parent run, or raise a `RecordError`.

        Of a sweep that is resumed return what is known of it: more than the store says, where the log is ahead of it.
        """
        self._store = open_store(self.uri, self._experiment)
        self._dataset = dataset
        self._limits.enter_context(settings(WRITING if is_http(self.uri) else {}))
        try:
            past = self._open(sweep, provenance)
        except Exception as error:
            self._limits.close()
            if is_refusal(error):
                raise
            raise unreachable(self.uri, error) from error
        self._drawn = sweep is None or len(sweep.trials) <= DRAWN_TRIALS
        faults = FaultLog(self._folder or Path())
        self._exporter = Exporter(self._store, self._log, self._batch, faults, self._hurry, self._timing)
        if past is not None:
            self._writer.submit(lambda: self._draw_known(past))
        self._writer.start()
        return past

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
        self._writer.submit(lambda: self._enter(Closed(status=status), _now()))
        # The record is whole before anything is drawn: who stops the process now loses pictures only.
        self._writer.submit(self._exporter.flush)
        if self._runs.parent is not None:
            self._writer.submit(self._close_sweep)
        self._writer.submit(self._drawings.close)
        errors = self._writer.close() + self._drawings.errors
        try:
            reason = self._exporter.close(stopped=status == "KILLED")
        finally:
            self._limits.close()
        errors += self._exporter.refused
        if self._log is not None:
            self._log.close()
            if self._folder is None and not reason:
                shutil.rmtree(self._log.path.parent, ignore_errors=True)
        if errors or reason:
            raise self._error(errors, reason) from (errors[0] if errors else None)

    def hurry(self) -> None:
        """Have `close` wait no longer for a store that does not answer; one that does still gets the rest."""
        self._hurry.set()

    def run_id(self, trial: PlannedTrial) -> str | None:
        """Return MLflow's name for the trial's run, None until it is created."""
        run = self._runs.runs.get(trial.key)
        return None if run is None else self._store.ids.get(run.id)

    def how_to_look(self) -> str:
        """Return the command line that opens the record, followed by a link to the sweep's charts."""
        sweep, root = self._runs.opened.parent or None, self._runs.root
        lone = None if sweep or root is None else self._store.ids.get(root)
        return how_to_look(self.uri, self._store.experiment_id, sweep=sweep, run=lone)

    @property
    def busy(self) -> float:
        """The CPU time that writing has taken, in seconds."""
        return self._writer.busy + self._exporter.busy

    def _open(self, sweep: SweepHeader | None, provenance: Provenance) -> Past | None:
        past = None if sweep is None else sweep.past
        known = None if past is None else self._replay(past)
        if self._log is None:
            self._log = self._make_log()
        path = "" if self._log is None else str(self._log.path)
        if past is None or sweep is None:
            parent = "" if sweep is None else self._make_parent(sweep, path)
            self._begin(sweep, parent, provenance)
            return None
        if known is None:
            has = {name: past.tags[name] for name in (summary.SWEPT,) if name in past.tags}
            sweep = dataclasses.replace(sweep, provenance={**sweep.provenance, **has})
            self._begin(sweep, past.run_id, Provenance())
        self._store.know(past.run_id)
        entries = min(int(past.tags.get(ENTRIES, "0")), known or 0)
        tags = run_tags(sweep.provenance, sweep.overrides, self._runs.opened.data)
        places = {name: tags[name] for name in PLACES if name in tags} | {LOG: path}
        adopt(self._store, past, {**places, ENTRIES: str(entries)}, ours=self._runs.made)
        self._past = past.ended
        self._recall(sweep.trials)
        went_on = Resumed(uri=redact(self.uri), sweep=dataclasses.replace(sweep, past=None), provenance=provenance)
        self._enter(went_on, _now())
        ended = self._runs.ended().items()
        self._store.ids |= self._runs.known
        ids = {key: self._runs.runs[key].id for key, _ in ended}
        return dataclasses.replace(
            past, ended={key: (self._store.ids.get(ids[key], ids[key]), one) for key, one in ended}
        )

    def _make_parent(self, sweep: SweepHeader, path: str) -> str:
        tags = run_tags(sweep.provenance, sweep.overrides, Data.of(self._dataset))
        store = self._store
        parent = store.create_run(sweep.name, {**tags, SWEEP_KEY: sweep.key, **({LOG: path} if path else {})}, _now())
        store.client.set_experiment_tag(store.experiment_id, *view(parent, sweep.trials, sweep.criterion))
        return parent

    def _make_log(self) -> Log | None:
        try:
            folder = self._folder or Path(tempfile.mkdtemp(prefix="descent-sweeps-"))
            return Log.create(folder.absolute() / LOGS.replace("*", str(time.time_ns())))
        except OSError as error:
            self._cannot_write(error)
            return None

    def _begin(self, sweep: SweepHeader | None, parent: str, provenance: Provenance) -> None:
        """Begin a log, and what follows from it."""
        opened = Opened(
            log=uuid.uuid4().hex,
            uri=redact(self.uri),
            experiment=self._experiment,
            parent=parent,
            sweep=None if sweep is None else dataclasses.replace(sweep, past=None),
            data=Data.of(self._dataset),
            provenance=provenance,
        )
        self._runs = Runs(opened, self._store.experiment_id)
        self._append(opened, _now())

    def _replay(self, past: Past) -> int | None:
        """Follow the log of a sweep that is resumed, and keep what the store lacks; return how many entries it has.

        Where there is none, or it is damaged from the start on, return None: what the store holds will do.
        """
        path, faults = Path(past.tags.get(LOG, "")), FaultLog(self._folder or Path())
        if not path.is_file():
            return None
        done = int(past.tags.get(ENTRIES, "0"))
        try:
            log = Log.open(path)
        except DamagedError as error:
            faults.write(f"the log cannot be used: {error}")
            return None
        try:
            for now, entry in log.read():
                if log.entries == 1:
                    self._runs = Runs(entry, self._store.experiment_id)
                else:
                    self._runs.take(entry, now)
                    if isinstance(entry, Finished | Recalled):
                        self._results[entry.trial.key] = entry.result
                if log.entries == done:
                    self._runs.outbox.take(done)
        except DamagedError as error:
            faults.write(f"of {path} is lost what follows entry {log.entries}, and it is computed again: {error}")
        if log.entries == 0 or self._runs.opened.parent != past.run_id:
            log.close()
            return None
        if log.entries > done:
            _log.warning("%d reports that the record lacked are in it now, from %s", log.entries - done, path)
        else:
            self._runs.outbox.take(done)
        self._log = log
        return log.entries

    def _recall(self, trials: Sequence[PlannedTrial]) -> None:
        """Take from the store what has ended of some trials in an earlier process, and is not in the log."""
        known = self._runs.ended() if self._past else {}
        for trial in trials:
            if trial.key in self._past and trial.key not in known:
                run_id, _ = self._past[trial.key]
                curves, result, layout = recall(self.uri, run_id)
                entry = Recalled(trial=trial, run_id=run_id, curves=tuple(curves), result=result, layout=layout)
                self._results[trial.key] = result
                self._enter(entry, _now())
                self._store.ids |= self._runs.known

    def _write(self, report: RecordedReport, now: int) -> None:
        """Write a report down that came at ``now`` (milliseconds since the epoch)."""
        self._enter(report, now)
        if isinstance(report, Planned):
            self._recall(report.trials)
        if isinstance(report, Finished):
            run = self._runs.runs[report.trial.key]
            if self._runs.parent is None:
                self._draw(run, report.result)
            else:
                self._draw_quickly(run, report.result)
            self._slim(run)

    def _enter(self, entry: object, now: int) -> None:
        """Put an entry into the log, and what follows from it into the outbox."""
        with self._lock:
            self._append(entry, now)
            self._runs.take(entry, now)

    def _append(self, entry: object, now: int) -> None:
        if self._log is not None:
            try:
                self._log.append(now, entry)
            except OSError as error:
                self._cannot_write(error)

    def _cannot_write(self, error: OSError) -> None:
        if self._unwritable is None:
            _log.warning("the log cannot be written, so what the store lacks stays in memory: %s", error)
        self._unwritable = error

    def _batch(self) -> Batch:
        """Return what the store lacks: what the log holds for good, as far as it can be written."""
        with self._lock:
            entries = 0 if self._log is None else self._log.entries
            batch = Batch(changes=self._runs.outbox.take(entries), root=self._runs.root, entries=entries)
        self._sync()
        return batch

    def _sync(self) -> None:
        if self._log is not None:
            try:
                self._log.sync()
            except OSError as error:
                self._cannot_write(error)

    def _flush(self) -> None:
        for trial, files in self._drawings.take():
            self._enter(Drew(trial=trial, files=files), _now())
        if self._runs.parent is not None:
            with self._lock:
                self._runs.parent.refresh(self._runs.runs, self._timing.refresh)
        self._sync()

    def _draw_known(self, past: Past) -> None:
        """Draw what an earlier process has not: it was killed before that."""
        for key, (run_id, _) in past.ended.items():
            run, result = self._runs.runs[key], self._results.pop(key)
            known = run_id in self._store.ids.values()
            if self._is_drawn(run) and not (known and has_figures(self.uri, run_id)):
                self._draw_quickly(run, result)
            self._slim(run)

    def _close_sweep(self) -> None:
        parent = self._runs.parent
        assert parent is not None, "a lone trial has no sweep to close"
        if parent.winner is not None:
            run = self._runs.runs[parent.winner.trial.key]
            self._draw(run, parent.winner.result)  # the longest comes first
        records = parent.records(self._runs.runs)
        for draw in self._sweep_figures:
            self._drawings.draw(None, draw, records)
        if parent.searched is not None and self._search_figures is not None:
            self._drawings.draw(None, self._search_figures, parent.searched)
        if self._register_model and parent.winner is not None:
            name = re.sub(r"[^\w-]+", "-", f"{self._experiment}-{self._dataset.name}")
            entry = trained(parent.winner, name, self._dataset, summary.standing_for(parent.tally))
            if entry is not None:
                self._enter(entry, _now())
                self._exporter.flush()  # it is registered while the figures are drawn

    def _draw(self, run: TrialRun, result: Result) -> None:
        if self._figures is not None:
            some = self._dataset.sample(SHOWN_EXAMPLES)
            self._drawings.draw(run.trial, self._figures, run.trial, result, run.points.series(), some)

    def _draw_quickly(self, run: TrialRun, result: Result) -> None:
        if self._quick_figures is not None and self._is_drawn(run):
            self._drawings.draw(run.trial, self._quick_figures, run.trial, result, run.points.series())

    def _is_drawn(self, run: TrialRun) -> bool:
        # What a task other than training has to show is its figure.
        return self._drawn or not run.trial.trial.task.trains

    def _slim(self, run: TrialRun) -> None:
        """Forget most points of an ended trial of a larger sweep, unless it may win."""
        if not self._drawn and not (self._runs.parent is not None and self._runs.parent.may_win(run.trial)):
            run.points.thin(CURVE_POINTS)

    def _error(self, errors: Sequence[Exception], reason: str) -> RecordError:
        address, what = redact(self.uri), []
        if errors:
            what.append(f"the record lacks what {len(errors)} failed writes held, the first: {brief(errors[0])}")
        if reason:
            what.append(f"the record is not whole: {reason}")
        if reason and (self._log is None or not self._log.is_whole):
            what.append(f"and the log cannot be written: {self._unwritable}")
        elif reason and self._log is not None:
            credentials = " --tracking-uri URI" if address != self.uri else ""
            command = f"python -m pipeline.backfill {shlex.quote(str(self._log.path))}{credentials}"
            what.append(f"what it lacks is written by: {command}")
        rule = f"tracking.uri must stay a store that can be written to, got {address!r}"
        return RecordError(f"{rule}: {redact('; '.join(what))}")


def _now() -> int:
    return time.time_ns() // 1_000_000
