"""A sweep's parent run: its description while it runs, and at its end the result table, figures and winner."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.address import how_to_look, redact
from pipeline.record import artifacts
from pipeline.record.description import Reference, describe
from pipeline.record.drawings import Drawings, Drawn
from pipeline.record.model import Classifier
from pipeline.record.outbox import Outbox
from pipeline.record.protocol import Series, SweepHeader
from pipeline.record.store import Store
from pipeline.record.trial_run import TrialRun
from pipeline.record.view import view
from pipeline.reports import Finished, TrialReport
from pipeline.results.tally import Standing, Tally
from tasks.datasets.dataset import Dataset
from tasks.models.layered import Layered
from tasks.trial import is_of_model

RESULTS = "results"
REFRESH_SECONDS = 5.0
"""Seconds between two versions of the description while the sweep runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """A trial of a sweep as it stands in the record: what is known of it, and its curves."""

    standing: Standing
    curves: Mapping[str, Series]


Figure = Callable[[Sequence[TrialRecord]], Drawn]
"""Draws a figure of a sweep, from its trials, the best first."""


class SweepRun:
    """The parent run of a sweep; all methods but the construction belong to the writer's thread."""

    def __init__(self, store: Store, sweep: SweepHeader, dataset: Dataset, tags: Mapping[str, str], uri: str) -> None:
        self.tally = Tally(sweep.trials, sweep.criterion)
        self.winner: Finished | None = None
        self._store, self._sweep, self._dataset, self._uri = store, sweep, dataset, uri
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
        if isinstance(report, Finished) and self._is_first(standing):
            self.winner = report

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
        ranking = self.tally.ranking()
        ids = [runs[standing.trial.key].id if standing.trial.key in runs else "" for standing in ranking]
        table = [{**row, "run_id": run_id} for row, run_id in zip(self.tally.table(), ids, strict=True)]
        outbox.batch(self.id).tags |= artifacts.table_tag(f"{RESULTS}.json")
        files = {f"{RESULTS}.csv": artifacts.csv_file(table), f"{RESULTS}.json": artifacts.table_file(table)}
        outbox.attach(self.id, files)

    def draw(self, drawings: Drawings, runs: Mapping[str, TrialRun], figures: Sequence[Figure]) -> None:
        """Have the figures of the sweep drawn."""
        records = [
            TrialRecord(standing=standing, curves=runs[standing.trial.key].points.series())
            for standing in self.tally.ranking()
            if standing.trial.key in runs
        ]
        for draw in figures:
            drawings.draw(self.id, draw, records)

    def register(self, outbox: Outbox, runs: Mapping[str, TrialRun], name: str) -> None:
        """Register the winner as a new version of the model ``name``: one that was trained and tells its layers."""
        if self.winner is None:
            return
        trial = self.winner.trial.trial
        if not trial.task.trains or not is_of_model(trial) or not isinstance(trial.model, Layered):
            return
        classifier = Classifier.of(trial.model, self._dataset, self.winner.result)
        outbox.register(runs[self.winner.trial.key].id, self.id, name, classifier)

    def _is_first(self, standing: Standing) -> bool:
        if standing.score == float("-inf"):
            return False
        if self.winner is None:
            return True
        best = self.tally.standings[self.winner.trial.key]
        return (-standing.score, standing.trial.index) < (-best.score, best.trial.index)
