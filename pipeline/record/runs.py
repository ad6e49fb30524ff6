"""The runs of a record, a parent and a child a trial, as they follow from the entries of its log."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

from pipeline.errors import RecordError
from pipeline.record.artifacts import FIGURES
from pipeline.record.outbox import PACK_ABOVE, Outbox
from pipeline.record.protocol import Closed, Drew, Opened, Recalled, Resumed, Trained
from pipeline.record.sweep_run import SweepRun
from pipeline.record.trial_run import TrialRun
from pipeline.reports import Failed, Finished, Printed, Progressed, Retried, Started, TrialReport
from tasks.events import Outcome, Result

RESUMED = "its sweep was killed, and resumed with a new run"
"""Why a run was killed whose trial another process computes again."""


class Runs:
    """Applies the entries of a log, of which ``opened`` is the first, and puts the changes of each run into ``outbox``.

    The changes depend on the entries alone (but for the names of files of arrays), so any process can replay a log.
    ``experiment`` is the id of the experiment in the store; ``runs`` maps the keys of trials to their runs; ``names``
    are the names of all runs, also of replaced ones; that of a run older than the log is its id in the store.
    """

    def __init__(self, opened: Opened, experiment: str) -> None:
        sweep = opened.sweep
        self.opened = opened
        self.outbox = Outbox(opened.parent, packed=sweep is not None and len(sweep.trials) > PACK_ABOVE)
        self.runs: dict[str, TrialRun] = {}
        self.parent = None if sweep is None else SweepRun(opened, sweep, self.runs, self.outbox, experiment)
        self.closed = False
        self.names: set[str] = set()

    @property
    def root(self) -> str | None:
        """The run of the whole record: the parent run, or the run of a lone trial once it has started."""
        return self.opened.parent or next((run.id for run in self.runs.values()), None)

    def results(self) -> Mapping[str, Result]:
        """Return by key the results, without arrays, of the trials that need not be computed again."""
        results = {key: run.result for key, run in self.runs.items()}
        return {key: one for key, one in results.items() if one is not None and one.outcome is not Outcome.FAILED}

    def apply(self, entry: object, now: int) -> None:
        """Apply an entry of the log, whose time is ``now`` (milliseconds since the epoch)."""
        match entry:
            case Started() | Progressed() | Printed() | Finished() | Failed():
                self._report(entry, now)
            case Retried():
                error = f"{entry.error}; from step {entry.step}"
                for trial in entry.trials:
                    self._run(Started(trial=trial), now).retry(entry.attempt, error, now)
            case Drew() | Trained():
                self._attach(entry)
            case Recalled():
                self._recall(entry, now)
            case Resumed():
                self._resume(entry, now)
            case Closed(status=status):
                self._close(status, now)
            case _ if self.parent is not None:
                self.parent.write(entry, now)

    def refresh(self, seconds: float) -> None:
        """Write the description of a running sweep again if the last one is ``seconds`` old."""
        if self.parent is not None and not self.closed:
            self.parent.refresh(seconds)

    def unended(self) -> list[str]:
        """Return the recorder's names of the runs that no entry has ended, the parent's last."""
        trials = [run.id for run in self.runs.values() if not run.ended]
        return trials + ([self.parent.id] if self.parent is not None and not self.closed else [])

    def abandon(self, unended: Collection[str], now: int, why: str) -> list[str]:
        """End the runs ``unended`` as KILLED, and return their names, each with the recorder's own."""
        names = []
        for run in self.runs.values():
            if run.id in unended:
                run.kill(now, why)
                names.append(f"{run.trial.name} ({run.id})")
        if self.parent is not None and self.parent.id in unended:
            self.parent.abandon(now)
            names.append(f"{self.parent.sweep.name} ({self.parent.id})")
        return names

    def _report(self, report: TrialReport, now: int) -> None:
        run = self._run(report if isinstance(report, Started) else Started(trial=report.trial), now)
        match report:
            case Progressed():
                run.add(report, now)
            case Printed(text=text):
                run.add_output(text)
            case Finished():
                run.finish(report, now)
            case Failed():
                run.fail(report, now)
        if self.parent is not None:
            self.parent.count(report)

    def _run(self, started: Started, now: int) -> TrialRun:
        """Return the run of a trial; start one if it has none."""
        key = started.trial.key
        if key not in self.runs:
            self.runs[key] = TrialRun(self._new_name(now), started.trial, self.outbox, now)
            setting = {} if self.parent is None else self.parent.setting(started.trial)
            self.runs[key].start(self.opened, started, setting)
        return self.runs[key]

    def _new_name(self, now: int) -> str:
        # The names of consecutive runs are ascending: random names would make each transaction change every page of
        # the store's indices. With the time, none is given again where the end of a log was lost.
        log = hashlib.sha256(self.opened.log.encode()).hexdigest()[:12]
        name = f"run-{log}{now:012x}{len(self.names):08x}"
        self.names.add(name)
        return name

    def _recall(self, recalled: Recalled, now: int) -> None:
        run = self.runs[recalled.trial.key] = TrialRun(recalled.run_id, recalled.trial, self.outbox, now)
        self.names.add(run.id)
        run.recall(recalled)
        if self.parent is not None:
            self.parent.count(Finished(trial=recalled.trial, result=recalled.result, layout=recalled.layout))

    def _attach(self, entry: Drew | Trained) -> None:
        run = self.opened.parent if entry.trial is None else self.runs[entry.trial.key].id
        change = self.outbox.change(run)
        if isinstance(entry, Trained):
            change.model = entry
        else:
            change.files |= {f"{FIGURES}/{_checked_path(name)}": image for name, image in entry.files.items()}

    def _resume(self, resumed: Resumed, now: int) -> None:
        if self.parent is None:
            raise RecordError("only a sweep can be resumed, got the log of a lone trial")
        for run in self.runs.values():
            if not run.ended:
                run.kill(now, RESUMED)
        ended = self.results()
        for key in self.runs.keys() - ended.keys():
            del self.runs[key]
        sweep, provenance = resumed.sweep, resumed.provenance
        self.opened = dataclasses.replace(self.opened, uri=resumed.uri, sweep=sweep, provenance=provenance)
        self.parent.resume(self.opened, sweep)
        self.closed = False

    def _close(self, status: str, now: int) -> None:
        self.closed = True
        for run in self.runs.values():
            if not run.ended:
                run.kill(now)
        if self.parent is not None:
            self.parent.end(status, now)


def _checked_path(name: str) -> str:
    """Return a relative path, or raise a `RecordError` if it leads out of its folder."""
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise RecordError(f"a path inside a run's artifacts is needed, got {name!r}")
    return name
