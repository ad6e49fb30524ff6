"""A trial's run: from its config and first point to its end, its arrays and its figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.errors import RecordError
from pipeline.plan.plan import PlannedTrial
from pipeline.record import artifacts
from pipeline.record.batches import Batch
from pipeline.record.drawings import Drawings, Drawn
from pipeline.record.outbox import Outbox
from pipeline.record.points import RunPoints
from pipeline.record.protocol import CLOCKED, Series
from pipeline.record.signature import signature_file
from pipeline.record.trial_log import TrialLog
from pipeline.reports import Layout
from tasks.datasets.dataset import Dataset
from tasks.events import Curve, Outcome, Result
from tasks.trial import is_of_model

Curves = Mapping[str, Series]

PRINTED = "output.txt"
"""The file of what a trial's own code has printed and logged."""

LONGEST = 1_000_000
"""Characters of it that are kept: half from its begin, half from its end."""

Figures = Callable[[PlannedTrial, Result, Curves, Dataset], Drawn]
"""Draws an ended trial: from the trial, its result, its curves and some of the data."""

QuickFigures = Callable[[PlannedTrial, Result, Curves], Drawn]
"""Draws what of it needs no data."""


class TrialRun:
    """The run of one trial, which began at ``now`` (milliseconds since the epoch).

    All methods but the construction belong to the writer's thread. ``id`` is the recorder's name for the
    run, empty until it is started; once it has ``ended``, nothing more is expected of it.
    """

    def __init__(self, trial: PlannedTrial, now: int) -> None:
        self.trial = trial
        self.points = RunPoints(now)
        self.id = ""
        self.ended = False
        self._began = now
        self._log = TrialLog()
        self._said: list[str] = []

    def start(self, outbox: Outbox, dataset: Dataset, tags: Mapping[str, str], files: Mapping[str, bytes]) -> None:
        """Create the run, with the trial's config and what is known of its circumstances."""
        self._log.start(self.trial, dataset, tags, self._began)
        config = artifacts.config_files(self.trial.config, self.trial.overrides)
        tags = {**tags, "key": self.trial.key, "config.sha256": artifacts.digest_of(config[artifacts.CONFIG])}
        self.id = outbox.create_run(self.trial.name, tags, self._began)
        outbox.batch(self.id).params.update(artifacts.params(self.trial.config))
        outbox.add_dataset(self.id, dataset.name, dataset.digest)
        outbox.attach(self.id, {**config, **files})

    def recall(self, run_id: str, curves: Sequence[Curve], result: Result) -> None:
        """Be the run of a trial that has ended before, and write nothing."""
        self.id, self.ended = run_id, True
        for curve in curves:
            self.points.add(curve, self._began)
        self.points.end(result, self._began)

    def retry(self, outbox: Outbox, attempt: int, error: str, now: int) -> None:
        """Write down that the trial is computed again after an error."""
        self._log.retry(attempt, error, now)
        message = artifacts.shorten(error, artifacts.LONGEST_TAG)
        self._batch(outbox).tags |= {"attempts": str(attempt), f"attempt.{attempt - 1}.error": message}

    def add(self, outbox: Outbox, curve: Curve, now: int) -> None:
        """Write the new points of a curve."""
        points = self.points.add(curve, now)
        self._log.points(points)
        self._batch(outbox).points.extend(points)

    def say(self, text: str) -> None:
        """Keep what the trial's own code has printed; a file of the run has it at the end."""
        self._said.append(text)

    def finish(self, outbox: Outbox, dataset: Dataset, result: Result, layout: Layout, now: int) -> None:
        """Write the end of a trial that ended by itself."""
        self.ended = True
        batch = self._batch(outbox)
        batch.points.extend(self.points.end(result, now))
        batch.points.extend(self._speed(result, now))
        batch.tags |= {"outcome": result.outcome.value, "outcome.step": str(result.step)}
        batch.tags |= {f"layout.{name}": str(value) for name, value in dataclasses.asdict(layout).items()}
        if result.message:
            batch.tags["outcome.message"] = artifacts.shorten(result.message, artifacts.LONGEST_TAG)
        outbox.end(self.id, "FAILED" if result.outcome is Outcome.FAILED else "FINISHED", now)
        self._log.finish(result, self.points.last(), layout, now)
        files = artifacts.result_files(result.arrays, layout) | self._files()
        if self.trial.trial.task.trains and is_of_model(self.trial.trial):
            files |= signature_file(dataset.train.images.dtype.name, dataset.image_shape, dataset.classes)
        outbox.attach(self.id, files)

    def fail(self, outbox: Outbox, error: str, traceback: str, now: int) -> None:
        """Write the end of a trial that raised, or was lost with its worker."""
        self.ended = True
        message = artifacts.shorten(error, artifacts.LONGEST_TAG)
        self._batch(outbox).tags |= {"outcome": Outcome.FAILED.value, "outcome.message": message}
        outbox.end(self.id, "FAILED", now)
        self._log.fail(error, now)
        outbox.attach(self.id, {artifacts.TRACEBACK: traceback.encode(), **self._files()})

    def kill(self, outbox: Outbox, now: int) -> None:
        """Write the end of a trial that was not allowed to end."""
        self._batch(outbox).tags["outcome"] = "killed"
        outbox.end(self.id, "KILLED", now)
        self._log.kill(now)
        outbox.attach(self.id, self._files())

    def draw(self, drawings: Drawings, figures: Figures, result: Result, some: Dataset) -> None:
        """Have the figures of the trial drawn, with some of the data."""
        drawings.draw(self.id, figures, self.trial, result, self.points.series(), some)

    def draw_quickly(self, drawings: Drawings, figures: QuickFigures, result: Result) -> None:
        """Have those figures of the trial drawn that need no data."""
        drawings.draw(self.id, figures, self.trial, result, self.points.series())

    def _files(self) -> dict[str, bytes]:
        """Return the trial's log, and what was printed, if anything was."""
        said = "".join(self._said)
        text = said if len(said) <= LONGEST else f"{said[: LONGEST // 2]}\n...\n{said[-LONGEST // 2 :]}"
        return self._log.file() | ({PRINTED: text.encode(errors="replace")} if said else {})

    def _batch(self, outbox: Outbox) -> Batch:
        if not self.id:
            raise RecordError("the run of this trial could not be started")
        return outbox.batch(self.id)

    def _speed(self, result: Result, now: int) -> list[Any]:
        """Return the examples evaluated a second of the wall clock, fused with the other trials of the group."""
        examples = self.points.series().get("examples")
        if examples is None or now <= self._began:
            return []
        speed = float(examples.values[-1]) * 1000 / (now - self._began)
        return [(f"{CLOCKED}examples_per_second", speed, now, result.step)]
