"""A sweep's parent run: its description while the sweep runs, and the result table and the winner at its end."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.plan.plan import PlannedTrial
from pipeline.plan.repeats import point_of
from pipeline.record import artifacts
from pipeline.record.outbox import Outbox
from pipeline.record.page import SETTING_TAG, Reference, describe
from pipeline.record.points import RunPoints
from pipeline.record.protocol import Opened, Series, SweepHeader
from pipeline.record.trial_run import TrialRun
from pipeline.reports import Decided, Finished, Measured, Planned, Searched, TrialReport
from pipeline.results import decisions, proposals, summary
from pipeline.results.standing import Standing
from pipeline.results.tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """A trial of a sweep, with its standing and its curves, for the figures.

    With more than one of ``repeats`` it is the mean of a setting.
    """

    standing: Standing
    curves: Mapping[str, Series]
    repeats: int = 1


class SweepRun:
    """The parent run of a sweep, whose trials that have started have ``runs``, by key.

    ``experiment`` is the id of its experiment in the store.
    ``decided`` are the decisions at rungs, in order, ``proposed`` the overrides of a search's proposals, in the batches
    in which they were made.
    """

    def __init__(
        self, opened: Opened, sweep: SweepHeader, runs: Mapping[str, TrialRun], outbox: Outbox, experiment: str
    ) -> None:
        self.id = opened.parent
        self.tally = Tally(sweep.trials, sweep.criterion)
        self._best_results: dict[str, Finished] = {}  # the best result of each setting that may win
        self.searched: Searched | None = None
        self.decided: list[Decided] = []
        self.proposed: list[Sequence[Sequence[str]]] = []
        self._has_params = summary.SWEPT in sweep.provenance
        self.sweep = sweep
        self._opened, self._runs, self._outbox, self._experiment = opened, runs, outbox, experiment
        self._described = time.monotonic()
        texts = artifacts.attached(sweep.attachments, sweep.trials, opened.data)
        outbox.change(self.id).files |= {name: text.encode(errors="replace") for name, text in texts.items()}
        self._describe("RUNNING")

    def count(self, report: TrialReport) -> None:
        """Count a report of a trial, and keep the results that may win."""
        self.tally.add([report.trial])  # a search may have proposed it since
        standing = self.tally.count(report)
        if isinstance(report, Finished) and standing.score > float("-inf"):
            self._keep_best(report, standing)

    def write(self, report: object, now: int) -> None:
        """Write what was planned, decided, searched or measured; other reports are in the log only."""
        change = self._outbox.change(self.id)
        match report:
            case Planned(trials=trials):
                self.tally.add(trials)
            case Decided():
                self.decided.append(report)
                change.tags |= decisions.tags(self.decided)
            case Measured(metrics=metrics):
                change.points += [RunPoints.block(name, value, now, 0) for name, value in metrics.items()]
            case Searched():
                known = {proposal.number for proposal in self.searched.proposals} if self.searched else set()
                if new := [proposal.overrides for proposal in report.proposals if proposal.number not in known]:
                    self.proposed.append(new)
                self.searched = report.after(self.searched)
                change.tags |= proposals.tags(self.searched)

    @property
    def winner(self) -> Finished | None:
        """The best result of the best setting."""
        return self._best_results[min(self._best_results, key=self.tally.rank_key)] if self._best_results else None

    def may_win(self, trial: PlannedTrial) -> bool:
        """Return whether a trial is the best of a setting that may win."""
        first = self._best_results.get(self.tally.setting_of(trial))
        return first is not None and first.trial.key == trial.key

    def setting(self, trial: PlannedTrial) -> dict[str, str]:
        """Return the tags that say which setting a trial repeats, and of a search which proposal it is."""
        self.tally.add([trial])
        proposed = {}
        if self.searched is not None:
            proposed = {"search.proposal": str(point_of(trial.index, trial.config["sweep"]["repeats"]))}
        return proposed | {
            SETTING_TAG: artifacts.shorten(self.tally.setting_name(trial), artifacts.LONGEST_TAG),
            f"{SETTING_TAG}.key": self.tally.setting_of(trial),
        }

    def resume(self, opened: Opened, sweep: SweepHeader) -> None:
        """Go on with the sweep in another process, which computes what has not ended: the trials without a run.

        Of a search that process has a single trial at first, so the sweep keeps its own name and trials.
        """
        self.sweep = dataclasses.replace(sweep, name=self.sweep.name, trials=self.sweep.trials)
        self._opened = opened
        self.tally = Tally(self.sweep.trials, sweep.criterion)
        self.tally.add([run.trial for run in self._runs.values()])
        for key, run in self._runs.items():
            if run.result is not None:
                self.tally.add_ended(key, run.result)

    def refresh(self, seconds: float) -> None:
        """Write the description again if the last one is ``seconds`` old."""
        if time.monotonic() - self._described >= seconds:
            self._described = time.monotonic()
            self._describe("RUNNING")

    def end(self, status: str, now: int) -> None:
        """Write the last description and the result table, and end the run."""
        ids = self._describe(status)
        change = self._outbox.change(self.id)
        change.end = status, now
        change.tags |= artifacts.table_tag("results.json") | summary.tags(self.tally)
        # MLflow refuses to change a param, and a search that goes on has more values.
        if status == "FINISHED" or self.searched is None:
            change.tags |= summary.swept_tag(self.tally)
            change.params |= {} if self._has_params else summary.params(self.tally)
            self._has_params = True
        change.points += [RunPoints.block(name, value, now, 0) for name, value in summary.metrics(self.tally).items()]
        rungs = {"rungs": decisions.rows(self.decided)} if self.decided else {}
        for name, table in (summary.tables(self.tally, ids) | rungs).items():
            change.files |= artifacts.table_files(name, table)

    def abandon(self, now: int) -> None:
        """End the run as KILLED, without a result table: the rest of the log, or a resume, may still bring results."""
        self._describe("KILLED")
        self._outbox.change(self.id).end = "KILLED", now

    def records(self) -> list[TrialRecord]:
        """Return the trials that have started, the best first."""
        ranking = [standing for standing in self.tally.ranking() if standing.trial.key in self._runs]
        return [TrialRecord(standing=one, curves=self._runs[one.trial.key].points.series()) for one in ranking]

    def _describe(self, status: str) -> dict[str, str]:
        """Write the description, and of a search the table of its proposals; return the names of the runs by key."""
        ids = {key: run.id for key, run in self._runs.items()}
        reference = Reference(run_id=self.id, uri=self._opened.uri, experiment=self._experiment, runs=ids)
        change = self._outbox.change(self.id)
        change.tags[artifacts.NOTE] = describe(self.sweep, self._opened.data, status, self.tally, reference)
        if self.searched is not None:
            change.files |= artifacts.table_files("proposals", proposals.rows(self.searched))
        return ids

    def _keep_best(self, report: Finished, standing: Standing) -> None:
        """Keep a result if it is the best of its setting; of the settings that have ended, keep only the best one's."""
        key = self.tally.setting_of(report.trial)
        known = self.tally.standings[self._best_results[key].trial.key] if key in self._best_results else None
        if known is None or (-standing.score, standing.trial.index) < (-known.score, known.trial.index):
            self._best_results[key] = report
        if self.tally.has_ended(key):
            ended = [other for other in self._best_results if self.tally.has_ended(other)]
            first = min(ended, key=self.tally.rank_key)
            self._best_results = {
                other: kept for other, kept in self._best_results.items() if other == first or other not in ended
            }
