"""The runs of a record, a parent and a child a trial, as they follow from the entries of its log."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from pipeline.errors import RecordError
from pipeline.plan.plan import PlannedTrial
from pipeline.plan.repeats import point_of
from pipeline.record import artifacts
from pipeline.record.outbox import PACK_ABOVE, Outbox, point
from pipeline.record.protocol import CHECKPOINTS, FOLDER, Closed, Drew, Opened, Recalled, SweepHeader, Trained
from pipeline.record.trial_run import TrialRun
from pipeline.reports import (
    Decided,
    Failed,
    Finished,
    Measured,
    Planned,
    Printed,
    Progressed,
    Retried,
    Searched,
    Started,
    TrialReport,
)
from pipeline.results import decisions, proposals, summary
from pipeline.results.best import BestResults
from pipeline.results.page import RESULTS_TAG, SETTING_TAG, Subject, describe, table_files
from pipeline.results.tally import Tally
from tasks.events import Outcome, Result

RESUMED = "its sweep was killed, and resumed with a new run"
"""Why a run is ended as KILLED: another process computes its trial again."""


class Runs:
    """Applies the entries of a log, of which ``opened`` is the first, and puts the changes of each run into ``outbox``.

    The changes depend on the entries alone (but for the names of files of arrays), so any process can replay a log.
    ``experiment`` is the id of the experiment in the store; ``runs`` maps the keys of trials to their runs; ``names``
    are the names of all runs, also of replaced ones; they begin with ``prefix``, but that of a run older than the log
    is its id in the store.
    """

    def __init__(self, opened: Opened, experiment: str) -> None:
        sweep = opened.sweep
        self.opened = opened
        self.outbox = Outbox(opened.parent, packed=sweep is not None and sweep.size > PACK_ABOVE)
        self.runs: dict[str, TrialRun] = {}
        self.parent = None if sweep is None else SweepRun(opened, sweep, self.runs, self.outbox, experiment)
        self.closed = False
        self._replaced: list[TrialRun] = []  # by what the store held of their ends, which this log has lost
        self.names: set[str] = set()
        self.prefix = f"run-{hashlib.sha256(opened.log.encode()).hexdigest()[:12]}"

    def results(self) -> Mapping[str, Result]:
        """Return by key the results, without arrays, of the trials that need not be computed again."""
        results = {key: run.result for key, run in self.runs.items()}
        return {key: one for key, one in results.items() if one is not None and one.outcome is not Outcome.FAILED}

    def to_log(self, entry: object) -> list[object]:
        """Return what a log gets before an entry is applied: the end of a trial's output only once the trial has ended.

        A trial that prints without end would fill the log.
        """
        ended: Iterable[TrialRun] = ()
        match entry:
            case Printed(trial=trial) if trial.key in self.runs and not self.runs[trial.key].output.starting:
                return []
            case Finished(trial=trial) | Failed(trial=trial) if trial.key in self.runs:
                ended = [self.runs[trial.key]]
            case Closed():
                ended = self.runs.values()
        return [*(Printed(trial=run.trial, text=text) for run in ended for text in run.output.end()), entry]

    def apply(self, entry: object, now: int) -> None:
        """Apply an entry of the log, whose time is ``now`` (milliseconds since the epoch)."""
        match entry:
            case Started() | Progressed() | Printed() | Finished() | Failed():
                started = entry if isinstance(entry, Started) else Started(trial=entry.trial)
                self._run(started, now).take(entry, now)
                self._count(entry)
            case Retried():
                for trial in entry.trials:
                    self._run(Started(trial=trial), now).take(entry, now)
            case Drew(trial=trial, files=files):
                change = self.outbox.change(self.opened.parent if trial is None else self.runs[trial.key].id)
                change.files |= {f"{artifacts.FIGURES}/{_checked_path(name)}": image for name, image in files.items()}
            case Trained(trial=trial):
                self.outbox.change(self.runs[trial.key].id).model = entry
            case Recalled():
                self._recall(entry, now)
            case Opened():
                self._resume(entry, now)
            case Closed(status=status):
                self._close(status, now)
            case _ if self.parent is not None:
                self.parent.write(entry, now)

    def abandon(self, is_running: Callable[[str], bool], now: int, why: str) -> list[str]:
        """End as KILLED the runs that no entry has ended; return their names, each with the recorder's own.

        ``is_running`` says whether the store has begun a run and not ended it.
        """
        names = []
        for run in (*self.runs.values(), *self._replaced):
            if not run.ended and is_running(run.id):
                run.kill(now, why)
                names.append(f"{run.trial.name} ({run.id})")
        # A sweep whose end is logged, and that runs, was resumed: another process has a copy of the log.
        if self.parent is not None and not self.closed and is_running(self.parent.id):
            self.parent.abandon(now)
            names.append(f"{self.parent.sweep.name} ({self.parent.id})")
        return names

    def _count(self, report: TrialReport) -> None:
        if self.parent is not None:
            self.parent.count(report)

    def _run(self, started: Started, now: int) -> TrialRun:
        """Return the run of a trial; start one if it has none."""
        key = started.trial.key
        if key not in self.runs:
            # The names of consecutive runs are ascending: random names would make each transaction change every page of
            # the store's indices. With the time, none is given again where the end of a log was lost.
            name = f"{self.prefix}{now:012x}{len(self.names):08x}"
            self.names.add(name)
            self.runs[key] = TrialRun(name, started.trial, self.outbox, now)
            setting = {} if self.parent is None else self.parent.setting(started.trial)
            self.runs[key].start(self.opened, started, setting)
        return self.runs[key]

    def _recall(self, recalled: Recalled, now: int) -> None:
        before = self.runs.get(recalled.trial.key)
        if before is not None and not before.ended:
            self._replaced.append(before)
        run = self.runs[recalled.trial.key] = TrialRun(recalled.run_id, recalled.trial, self.outbox, now)
        self.names.add(run.id)
        run.recall(recalled)
        self._count(Finished(trial=recalled.trial, result=recalled.result, layout=recalled.layout))

    def _resume(self, opened: Opened, now: int) -> None:
        if self.parent is None or opened.sweep is None:
            raise RecordError("only a sweep can be resumed, got the log of a lone trial")
        for run in self.runs.values():
            run.kill(now, RESUMED)
        ended = self.results()
        for key in self.runs.keys() - ended.keys():
            del self.runs[key]
        self.opened = opened
        self.parent.resume(opened, opened.sweep)
        self.closed = False

    def _close(self, status: str, now: int) -> None:
        self.closed = True
        for run in self.runs.values():
            run.kill(now)
        if self.parent is not None:
            self.parent.end(status, now)


class SweepRun:
    """A sweep's parent run: its description while the sweep runs, and the result table and the winner at its end.

    ``runs`` are those of the trials that have started, by key; ``experiment`` is the id of the experiment in the store.
    ``has_params`` says whether the store has the params, which MLflow refuses to change.
    ``best`` are the results that may win, ``decided`` the decisions at rungs, in order, ``proposed`` the params of a
    search's proposals, in the batches in which they were made.
    """

    def __init__(
        self, opened: Opened, sweep: SweepHeader, runs: Mapping[str, TrialRun], outbox: Outbox, experiment: str
    ) -> None:
        self.id = opened.parent
        self.tally = Tally(sweep.trials, sweep.criterion)
        self.best = BestResults(self.tally)
        self.searched: Searched | None = None
        self.decided: list[Decided] = []
        self.proposed: list[Sequence[Mapping[str, str]]] = []
        self.has_params = False
        self._ending: tuple[dict[str, str], dict[str, float]] = {}, {}  # the tags and the metrics of its last end
        self.sweep, self.opened = sweep, opened
        self._runs, self._outbox, self._experiment = runs, outbox, experiment
        self._described = time.monotonic()
        outbox.add_texts(self.id, artifacts.attached(opened.provenance.attachments, sweep.trials, opened.data))
        self._describe("RUNNING")

    def count(self, report: TrialReport) -> None:
        """Count a report of a trial, and keep the results that may win."""
        self._add(report.trial)
        standing = self.tally.count(report)
        if isinstance(report, Finished) and standing.score > float("-inf"):
            self.best.add(report)

    def write(self, report: object, now: int) -> None:
        """Write what was planned, decided, searched or measured; other reports are in the log only."""
        change = self._outbox.change(self.id)
        match report:
            case Planned(trials=trials):
                self.tally.add(trials)
            case Decided():
                self.decided.append(report)
            case Measured(metrics=metrics):
                change.points += [point(name, value, now, 0) for name, value in metrics.items()]
            case Searched():
                known = {proposal.number for proposal in self.searched.proposals} if self.searched else set()
                if new := [proposal.params for proposal in report.proposals if proposal.number not in known]:
                    self.proposed.append(new)
                self.searched = report.after(self.searched)
                change.tags |= proposals.tags(self.searched)

    def setting(self, trial: PlannedTrial) -> dict[str, str]:
        """Return the tags that say which setting a trial repeats, and of a search which proposal it is."""
        self._add(trial)
        tags = {SETTING_TAG: self.tally.setting_name(trial), f"{SETTING_TAG}.key": self.tally.setting_of(trial)}
        if self.searched is not None:
            tags["search.proposal"] = str(point_of(trial.index, trial.config["sweep"]["repeats"]))
        return tags

    def resume(self, opened: Opened, sweep: SweepHeader) -> None:
        """Go on with the sweep in another process, which computes what has not ended: the trials without a run.

        That process knows only the first trial of a search, so the sweep keeps its own name and trials.
        """
        self.sweep = dataclasses.replace(sweep, name=self.sweep.name, trials=self.sweep.trials)
        self.opened = opened
        self.tally = Tally(self.sweep.trials, sweep.criterion)
        for key, run in self._runs.items():
            self._add(run.trial)
            if run.result is not None:
                self.tally.add_ended(key, run.result)
        self.best = self.best.ranked_by(self.tally)
        texts = {**opened.provenance.tags, **sweep.tags}
        places = {name: texts[name] for name in (CHECKPOINTS, FOLDER) if name in texts}
        self._outbox.change(self.id).tags |= places | sweep.criterion.tags()

    def refresh(self, seconds: float) -> None:
        """Write the description again if the last one is ``seconds`` old."""
        if time.monotonic() - self._described >= seconds:
            self._described = time.monotonic()
            self._describe("RUNNING")

    def end(self, status: str, now: int) -> None:
        """Write the last description and the result table, and end the run."""
        self._describe(status)
        change = self._outbox.change(self.id)
        change.end = status, now
        # What an earlier end named may be gone: the best one has diverged since, say.
        tags, metrics = dict.fromkeys(self._ending[0], "none"), dict.fromkeys(self._ending[1], math.nan)
        self._ending = summary.tags(self.tally), summary.metrics(self.tally)
        change.tags |= RESULTS_TAG | tags | self._ending[0]
        # MLflow refuses to change a param, and a search that goes on has more values.
        if status == "FINISHED" or self.searched is None:
            change.tags |= summary.swept_tag(self.tally)
            change.params |= {} if self.has_params else summary.params(self.tally)
            self.has_params = True
        change.points += [point(name, value, now, 0) for name, value in (metrics | self._ending[1]).items()]
        rungs = {"rungs": decisions.rows(self.decided)} if self.decided else {}
        for name, table in (summary.tables(self.tally) | rungs).items():
            change.files |= table_files(name, table)

    def abandon(self, now: int) -> None:
        """End the run as KILLED, without a result table: the rest of the log, or a resume, may still bring results."""
        self._describe("KILLED")
        self._outbox.change(self.id).end = "KILLED", now

    def _add(self, trial: PlannedTrial) -> None:
        """Add a trial that has a run to the tally; a search may have proposed it since."""
        self.tally.add([trial])
        self.tally.standings[trial.key].run_id = self._runs[trial.key].id

    def _describe(self, status: str) -> None:
        """Write the description, what was decided, and the table of proposals."""
        subject = Subject(
            name=self.sweep.name,
            size=self.sweep.size,
            data=str(self.opened.data),
            command=self.opened.provenance.tags.get("command", ""),
            resumable=bool(self.sweep.key),
            run_id=self.id,
            uri=self.opened.uri,
            experiment=self._experiment,
        )
        change = self._outbox.change(self.id)
        change.tags[artifacts.NOTE] = describe(subject, status, self.tally)
        change.tags |= decisions.tags(self.decided)
        if self.searched is not None:
            change.files |= table_files("proposals", proposals.rows(self.searched))


def _checked_path(name: str) -> str:
    """Return a relative path, or raise a `RecordError` if it leads out of its folder."""
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise RecordError(f"a path inside a run's artifacts is needed, got {name!r}")
    return name
