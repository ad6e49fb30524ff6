"""The recorder that writes a sweep to MLflow: reports are appended to the log first, and then exported to the store."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
import shlex
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.address import absolute, redact
from pipeline.background import Writer
from pipeline.config.settings import counted
from pipeline.errors import RecordError, UndrawnError
from pipeline.figures.drawers import Drawers, InThisThread
from pipeline.figures.drawings import Drawings, Figures
from pipeline.plan.plan import PlannedTrial
from pipeline.record import artifacts
from pipeline.record.log import DamagedError, Log
from pipeline.record.outbox import Change
from pipeline.record.protocol import Closed, Data, Drew, Opened, Past, Provenance, Resumption, SweepHeader
from pipeline.record.runs import Runs
from pipeline.reports import Finished, Progressed, RecordedReport
from pipeline.results import summary
from pipeline.results.criterion import Criterion
from pipeline.results.fault_log import FaultLog, brief
from pipeline.tracking.connection import WRITE_VARIABLES, answering, http_variables
from pipeline.tracking.exporter import Exporter
from pipeline.tracking.model import trained_model
from pipeline.tracking.relocation import LOG_TAG
from pipeline.tracking.sqlite_store import open_store
from pipeline.tracking.store import ENTRIES_TAG, RUN_TAG
from pipeline.tracking.unfinished import adopt, recall
from tasks.datasets.dataset import Dataset

FLUSH_EVERY, REFRESH_EVERY = 1.0, 5.0
"""Seconds between two flushes of the log to the disk, and between two descriptions of a sweep."""

_log = logging.getLogger(__name__)


class MlflowRecorder:
    """Records to the MLflow store at ``uri`` (an SQLite file, a database or a server), in ``experiment``.

    `open` connects to the store before it returns. `record` may be called before that; it returns at once and never
    raises: reports are written in the background, in order. `close` may be called once `open` has returned, and waits
    until all is written. A lone trial is recorded as a sweep is, without a parent run.

    Each report is appended to a log in ``folder`` before it is written to the store. The log is kept; without a folder
    it is temporary. ``figures`` are those of trials and sweeps; ``drawers`` draws them, by default at once, and is
    closed by `close`. ``register_model`` says whether a sweep's winner becomes a version of a registered model.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        *,
        folder: Path | None = None,
        figures: Figures | None = None,
        drawers: Drawers | None = None,
        register_model: bool = False,
    ) -> None:
        self.uri = absolute(uri)
        self.drawers = drawers or InThisThread()
        self._experiment, self._folder = experiment, folder
        self._figures, self._register_model = figures or Figures(), register_model
        self._lock = threading.Lock()  # guards the runs and their outbox
        self._writer = Writer(self._flush, interval=FLUSH_EVERY)
        self._hurry = threading.Event()
        self._closing = contextlib.ExitStack()

    def open(
        self, sweep: SweepHeader | None, dataset: Dataset, provenance: Provenance, past: Past | None = None
    ) -> Resumption | None:
        """Connect to the store, and start the parent run of a ``sweep`` (None: a lone trial).

        With a ``past`` the sweep goes on with that parent run. Return what it has left, in its log or else the store.

        Raises
        ------
        RecordError
            If the store does not answer, or the past cannot be resumed.
        """
        self._store = open_store(self.uri, self._experiment)
        self._dataset = dataset
        self._faults = FaultLog(self._folder or Path())
        with self._closing, answering(self.uri):
            self._closing.enter_context(http_variables(self.uri, WRITE_VARIABLES))
            resumption = None
            if sweep is not None and past is not None:
                resumption = self._resume(sweep, past, provenance)
            else:
                self._begin_log("" if sweep is None else f"run-{uuid.uuid4().hex}", sweep, provenance)
                if self._runs.parent is not None:
                    self._store.begin(self._runs.parent, self._log.path, _now())
            self._log.needed = True
            self._closing = self._closing.pop_all()
        self._exporter = Exporter(self._store, self._log_file, self._next_changes, self._faults, self._hurry)
        self._writer.submit(self._drawings.draw_missing)
        self._writer.start()
        return resumption

    def record(self, report: RecordedReport) -> None:
        """Write a report, idempotently: a trial is started once, and a point that comes twice is written once."""
        if isinstance(report, Progressed):
            # The drawers start when there is something to draw: earlier they would take CPU time that the workers need
            # to start.
            self.drawers.start()
        now = _now()
        self._writer.submit(lambda: self._record(report, now))

    def sync(self) -> None:
        """Return once all reports so far are on the disk; called after `open`."""
        done = threading.Event()
        self._writer.submit(self._log.sync)
        self._writer.submit(done.set)
        done.wait()

    def close(self, status: str) -> None:
        """Write the result table, end the parent run as FINISHED, FAILED or KILLED, and flush everything.

        A trial that has started and not ended is ended as KILLED.

        Raises
        ------
        RecordError
            If anything could not be written, now or earlier; an `UndrawnError` if only figures are missing.
        """
        self._writer.submit(lambda: self._record(Closed(status=status), _now()))
        # The record is complete before the last figures are drawn: a stop during the drawing loses figures only.
        self._writer.submit(self._exporter.flush)
        self._writer.submit(self._drawings.end_sweep)
        if status != "KILLED":  # a resume may find a better one
            self._writer.submit(self._register_winner)
        self._writer.submit(self._drawings.close)
        errors = self._writer.close()
        with self._closing:
            reason = self._exporter.close(stopped=status == "KILLED")
            self._log.needed = self._folder is not None or bool(reason)
        errors += self._exporter.refused
        if errors or reason:
            raise self._error(errors, reason) from (errors[0] if errors else None)
        if undrawn := self._drawings.errors:
            message = f"{counted(len(undrawn), 'figure')} could not be drawn, all else is recorded; the first:"
            frames = redact(str(undrawn[0])).splitlines()[1:]  # of a package's figure
            raise UndrawnError("\n".join([f"{message} {brief(undrawn[0])}", *frames])) from undrawn[0]

    def hurry(self) -> None:
        """Let `close` give up a store that does not answer; one that answers still gets the rest."""
        self._hurry.set()

    def run_id(self, trial: PlannedTrial) -> str | None:
        """Return the id of the trial's run in MLflow, None until it is created."""
        run = self._runs.runs.get(trial.key)
        return None if run is None else self._store.known_id(run.id)

    def how_to_look(self) -> str:
        """Return the command line that opens the record, followed by a link to the sweep's charts."""
        return self._store.how_to_look(self._runs)

    def _resume(self, sweep: SweepHeader, past: Past, provenance: Provenance) -> Resumption:
        """Resume a sweep, from its log or else from the store alone."""
        stored = artifacts.read_tag(past.run_id, {ENTRIES_TAG: "0", **past.tags}, ENTRIES_TAG, int)
        entries = self._replay_log(past, stored, sweep.criterion)
        if not entries:  # the results of its trials are read from the store
            self._begin_log(past.tags.get(RUN_TAG, f"run-{past.run_id}"), sweep, provenance)
        if entries > stored:
            _log.warning("%d missing reports were written to the record, from %s", entries - stored, self._log.path)
        store, parent = self._store, self._runs.parent
        assert parent is not None, "only a sweep is resumed"
        parent.has_params |= summary.SWEPT in past.tags
        store.ids |= {**past.names, parent.id: past.run_id}
        store.attempted |= self._runs.names
        self._recall(past)
        log = {LOG_TAG: str(self._log.path or ""), ENTRIES_TAG: str(min(stored, entries))}
        adopt(store, past, {RUN_TAG: parent.id, **log}, ours=self._runs.names)
        opened = dataclasses.replace(self._runs.opened, uri=redact(self.uri), sweep=sweep, provenance=provenance)
        self._record(opened, _now())
        store.show(parent)
        ended = self._runs.results()
        return Resumption(
            ended=ended,
            curves={key: self._runs.runs[key].points.curves.copy() for key in ended},
            decisions=tuple(one.decision for one in parent.decided),
            proposals=tuple(parent.proposed),
        )

    def _recall(self, past: Past) -> None:
        """Record the trials that have ended, but not in the log, as the store holds them."""
        logged = self._runs.results()
        for key, run_id in reversed(list(past.runs.items())):  # in the order in which they started
            if key not in logged:
                entry = recall(self._store, run_id)
                self._record(entry, _now())
                self._drawings.replay(entry)

    def _replay_log(self, past: Past, stored: int, criterion: Criterion) -> int:
        """Replay the log of a sweep, and return how many entries it has; the store has ``stored`` of them.

        Its trials are ranked by the ``criterion``, so that the winner may be any of them. If there is no log, or its
        start is damaged, return 0 and leave no log open.
        """
        path = Path(past.tags.get(LOG_TAG, ""))
        if not path.is_file():
            return 0
        try:
            log = Log.open(path)
        except DamagedError as error:
            self._faults.write(f"the log cannot be used: {error}")
            return 0
        try:
            for now, logged in log.read():
                entry = logged
                if isinstance(entry, Opened) and entry.sweep is not None:
                    entry = dataclasses.replace(entry, sweep=dataclasses.replace(entry.sweep, criterion=criterion))
                if isinstance(entry, Opened) and log.entries == 1:
                    self._follow(entry)
                else:
                    self._runs.apply(entry, now)
                self._drawings.replay(entry)
                if log.entries <= stored:
                    self._runs.outbox.discard()
        except DamagedError as error:
            lost = f"{path}: the entries after {log.entries} are lost, and their trials are computed again"
            self._faults.write(f"{lost}: {error}")
        if log.entries == 0 or self._runs.opened.parent != past.tags.get(RUN_TAG):
            log.close()
            return 0
        self._log = self._closing.enter_context(contextlib.closing(log))
        return log.entries

    def _begin_log(self, parent: str, sweep: SweepHeader | None, provenance: Provenance) -> None:
        """Begin a log, which is removed again if the record cannot be opened (no store will name it), and follow it."""
        self._log = Log.begin(self._folder)
        self._log.needed = False
        self._closing.enter_context(contextlib.closing(self._log))
        opened = Opened(
            log=uuid.uuid4().hex,
            uri=redact(self.uri),
            experiment=self._experiment,
            parent=parent,
            sweep=sweep,
            data=Data.of(self._dataset),
            provenance=provenance,
        )
        self._follow(opened)
        self._log.append(_now(), opened)

    def _follow(self, opened: Opened) -> None:
        """Make what follows from a log: its runs and their figures."""
        self._runs = Runs(opened, self._store.experiment_id)
        self._drawings = Drawings(self._runs, self._dataset, self._figures, self.drawers)

    def _record(self, entry: object, now: int) -> None:
        """Append an entry of the time ``now`` to the log, apply it to the runs, and do what follows from it.

        The changes of the runs go to the outbox.
        """
        with self._lock:
            for logged in self._runs.to_log(entry):
                self._log.append(now, logged)
            self._runs.apply(entry, now)
        if isinstance(entry, Finished):
            self._drawings.end(entry.trial, entry.result)

    def _log_file(self) -> Path | None:
        """Return the file of the log, None if a backfill would miss what could not be written to it."""
        return self._log.path if self._log.is_whole else None

    def _next_changes(self) -> Mapping[str, Change]:
        """Return the changes that the store lacks, after the log that holds them is flushed to the disk."""
        with self._lock:
            changes = self._runs.outbox.drain(self._log.entries)
        self._log.sync()
        return changes

    def _flush(self) -> None:
        for trial, files in self._drawings.drain():
            self._record(Drew(trial=trial, files=files), _now())
        with self._lock:
            if self._runs.parent is not None and not self._runs.closed:
                self._runs.parent.refresh(REFRESH_EVERY)
            self._log.write()
        self._log.sync()

    def _register_winner(self) -> None:
        """Register the winner of a sweep as a model, while figures are drawn."""
        parent = self._runs.parent
        if not self._register_model or parent is None or parent.best.winner is None:
            return
        name = re.sub(r"[^\w-]+", "-", f"{self._experiment}-{self._dataset.name}")
        entry = trained_model(parent.best.winner, name, self._dataset, summary.standing_for(parent.tally))
        if entry is not None:
            self._record(entry, _now())
            self._exporter.flush()

    def _error(self, errors: Sequence[Exception], reason: str) -> RecordError:
        address, causes = redact(self.uri), []
        if errors:
            causes.append(f"the record lacks what {len(errors)} failed writes held, the first: {brief(errors[0])}")
        if reason:
            causes.append(f"the record is incomplete: {reason}")
        if reason and not self._log.is_whole:
            causes.append(f"and the log cannot be written: {self._log.error}")
            if self._runs.parent is not None:
                causes.append("what both lack is computed again with sweep.resume=true")
        elif reason:
            credentials = " --tracking-uri URI" if address != self.uri else ""
            command = f"python -m pipeline.backfill {shlex.quote(str(self._log.path))}{credentials}"
            causes.append(f"what it lacks is written by: {command}")
        rule = f"tracking.uri must stay a store that can be written to, got {address!r}"
        return RecordError(f"{rule}: {redact('; '.join(causes))}")


def _now() -> int:
    return time.time_ns() // 1_000_000
