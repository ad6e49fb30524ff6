"""A sweep's parent run: its description while it runs, and at its end the result table, figures and winner."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.address import how_to_look, redact
from pipeline.plan.plan import PlannedTrial
from pipeline.plan.repeats import point_of
from pipeline.record import artifacts
from pipeline.record.description import Reference, describe
from pipeline.record.drawings import Drawings, Drawn
from pipeline.record.model import Classifier
from pipeline.record.outbox import Outbox
from pipeline.record.protocol import Series, SweepHeader
from pipeline.record.search_table import PROPOSALS, proposals, search_tags
from pipeline.record.store import Store
from pipeline.record.trial_run import TrialRun
from pipeline.record.view import SETTING, view
from pipeline.reports import Decided, Finished, Searched, TrialReport
from pipeline.results import decisions, summary
from pipeline.results.tally import Standing, Tally
from tasks.datasets.dataset import Dataset
from tasks.models.layered import Layered
from tasks.trial import is_of_model

RESULTS = "results"
REFRESH_SECONDS = 5.0
"""Seconds between two versions of the description while the sweep runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """A trial of a sweep as it stands in the record: what is known of it, and its curves.

    Of a setting it is the mean of ``repeats``, where there is more than one.
    """

    standing: Standing
    curves: Mapping[str, Series]
    repeats: int = 1


Figure = Callable[[Sequence[TrialRecord]], Drawn]
"""Draws a figure of a sweep, from its trials, the best first."""


class SweepRun:
    """The parent run of a sweep; all methods but the construction belong to the writer's thread."""

    def __init__(self, store: Store, sweep: SweepHeader, dataset: Dataset, tags: Mapping[str, str], uri: str) -> None:
        self.tally = Tally(sweep.trials, sweep.criterion)
        self._firsts: dict[str, Finished] = {}  # the best result of each setting that may win
        self._decisions: list[Decided] = []
        self._has_params = sweep.past is not None and summary.SWEPT in sweep.past.tags
        self._store, self._sweep, self._dataset, self._uri = store, sweep, dataset, uri
        self._searched: Searched | None = None
        self._told, self._ended = time.monotonic(), False
        if sweep.past is not None:
            self.id = sweep.past.run_id
            return
        self.id = store.create_run(sweep.name, tags, time.time_ns() // 1_000_000)
        store.client.set_experiment_tag(store.experiment_id, *view(self.id, sweep.trials, sweep.criterion))
        store.attach(self.id, {f"provenance/{name}": text.encode() for name, text in sweep.attachments.items()})

    def take(self, report: TrialReport) -> None:
        """Take into account what happened to a trial, and remember the best result."""
        standing = self.tally.take(report)
        if isinstance(report, Finished) and standing.score > float("-inf"):
            self._keep(report, standing)

    def decide(self, report: Decided, outbox: Outbox) -> None:
        """Take in a decision at a rung, and write down how many went on from each."""
        self._decisions.append(report)
        outbox.batch(self.id).tags |= decisions.tags(self._decisions)

    def measure(self, metrics: Mapping[str, float], outbox: Outbox) -> None:
        """Write down what was measured of the sweep itself."""
        now = time.time_ns() // 1_000_000
        outbox.batch(self.id).points += [(name, value, now, 0) for name, value in metrics.items()]

    @property
    def winner(self) -> Finished | None:
        """The best result of the best setting."""
        return self._firsts[min(self._firsts, key=self.tally.place)] if self._firsts else None

    def setting(self, trial: PlannedTrial) -> dict[str, str]:
        """Return the tags that say which setting a trial repeats."""
        return {SETTING: self.tally.setting_name(trial), f"{SETTING}.key": self.tally.setting_of(trial)}

    def search(self, outbox: Outbox, report: Searched) -> None:
        """Write down what a search has proposed, and what it made of it."""
        self._searched = searched = report.after(self._searched)
        outbox.batch(self.id).tags |= search_tags(searched)
        table = proposals(searched)
        files = {f"{PROPOSALS}.csv": artifacts.csv_file(table), f"{PROPOSALS}.json": artifacts.table_file(table)}
        outbox.attach(self.id, files)

    def proposal_tags(self, trial: PlannedTrial) -> dict[str, str]:
        """Return the tag that says which proposal of the search a trial is; none where nothing is searched."""
        if self._searched is None:
            return {}
        return {"search.proposal": str(point_of(trial.index, trial.config["sweep"]["repeats"]))}

    def refresh(self, outbox: Outbox, runs: Mapping[str, TrialRun]) -> None:
        """Bring the description up to date, if it is time to."""
        if not self._ended and time.monotonic() - self._told >= REFRESH_SECONDS:
            self._told = time.monotonic()
            self.describe(outbox, runs, "RUNNING")

    def describe(self, outbox: Outbox, runs: Mapping[str, TrialRun], status: str) -> None:
        """Write the description."""
        experiment = self._store.experiment_id
        known = tuple(runs.items())  # another thread adds to them
        links = {key: f"#/experiments/{experiment}/runs/{run.id}" for key, run in known if run.id}
        look = how_to_look(self._uri, experiment, sweep=self.id, run=None)
        reference = Reference(run_id=self.id, uri=redact(self._uri), look=look, links=links)
        note = describe(self._sweep, self._dataset, status, self.tally, reference)
        outbox.batch(self.id).tags[artifacts.NOTE] = note

    def end(self, outbox: Outbox, runs: Mapping[str, TrialRun], status: str) -> None:
        """Write the last description and the result table, and end the run."""
        self._ended = True
        self.describe(outbox, runs, status)
        outbox.end(self.id, status, time.time_ns() // 1_000_000)
        ids = {key: run.id for key, run in runs.items()}
        batch, now = outbox.batch(self.id), time.time_ns() // 1_000_000
        batch.tags |= artifacts.table_tag(f"{RESULTS}.json") | summary.tags(self.tally)
        if not self._has_params:  # what was written once cannot be changed
            batch.params |= summary.params(self.tally)
        batch.points += [(name, value, now, 0) for name, value in summary.metrics(self.tally).items()]
        files: dict[str, bytes] = {}
        tables = summary.tables(self.tally, ids)
        if self._decisions:
            tables |= {"rungs": decisions.rows(self._decisions)}
        for name, table in tables.items():
            files |= {f"{name}.csv": artifacts.csv_file(table), f"{name}.json": artifacts.table_file(table)}
        outbox.attach(self.id, files)

    def draw(
        self,
        drawings: Drawings,
        runs: Mapping[str, TrialRun],
        figures: Sequence[Figure],
        search_figures: Callable[[Searched], Drawn] | None = None,
    ) -> None:
        """Have the figures of the sweep drawn."""
        records = [
            TrialRecord(standing=standing, curves=runs[standing.trial.key].points.series())
            for standing in self.tally.ranking()
            if standing.trial.key in runs
        ]
        for draw in figures:
            drawings.draw(self.id, draw, records)
        if self._searched is not None and search_figures is not None:
            drawings.draw(self.id, search_figures, self._searched)

    def register(self, outbox: Outbox, runs: Mapping[str, TrialRun], name: str) -> None:
        """Register the winner as a new version of the model ``name``: one that was trained and tells its layers."""
        if self.winner is None:
            return
        trial = self.winner.trial.trial
        if not trial.task.trains or not is_of_model(trial) or not isinstance(trial.model, Layered):
            return
        classifier = Classifier.of(trial.model, self._dataset, self.winner.result)
        about = summary.standing_for(self.tally)
        outbox.register(runs[self.winner.trial.key].id, self.id, name, classifier, about)

    def _keep(self, report: Finished, standing: Standing) -> None:
        """Keep a result if it is the best of its setting; of settings that have ended, only that of the best."""
        key = self.tally.setting_of(report.trial)
        known = self.tally.standings[self._firsts[key].trial.key] if key in self._firsts else None
        if known is None or (-standing.score, standing.trial.index) < (-known.score, known.trial.index):
            self._firsts[key] = report
        if self.tally.has_ended(key):
            ended = [other for other in self._firsts if self.tally.has_ended(other)]
            first = min(ended, key=self.tally.place)
            self._firsts = {other: kept for other, kept in self._firsts.items() if other == first or other not in ended}
