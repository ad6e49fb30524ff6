"""Following a sweep: what its engine reports is recorded, tallied and shown."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.display.console import Display, retry_message
from pipeline.engine.protocol import Engine, run
from pipeline.plan.plan import Group
from pipeline.reports import (
    Checkpointed,
    Decided,
    Failed,
    Finished,
    Measured,
    Paused,
    Planned,
    Report,
    Retried,
    Searched,
)
from pipeline.results.decisions import sentence
from pipeline.results.failures import Failures
from pipeline.results.tally import Tally
from pipeline.sweep.checkpoint_file import Saved
from pipeline.sweep.checkpoints import Checkpoints
from pipeline.sweep.opening import Record, closing
from pipeline.sweep.trial_scheduler import stopped
from tasks.datasets.dataset import Dataset
from tasks.events import Outcome


class ReportHandler:
    """Takes every report to the record, the tally, the display and the failures; keeps checkpoints.

    Trials are computed while the record is being opened; `take` raises where it cannot be.
    """

    def __init__(self, record: Record, tally: Tally, display: Display, failures: Failures) -> None:
        self._record, self._tally, self._display, self._failures = record, tally, display, failures
        self._told_of_disk = False
        self._searched = set[str]()

    def take(self, report: Report) -> None:
        """Take in a report."""
        checkpoints = self._record.checkpoints()
        if isinstance(report, Checkpointed | Paused):
            self._keep(checkpoints, report)
            return
        self._record.recorder.take(report)
        match report:
            case Retried():
                self._say(report)
            case Planned(trials=trials):
                self._tally.add(trials)
            case Decided():
                if report.decision.complete:
                    self._display.say(sentence(report))
            case Searched() | Measured():
                pass
            case _:
                self._tally.take(report)
        failed = _failed(report)
        if failed is not None and self._failures.take(failed):
            self._display.say(f"failed: {failed.trial.name}: {failed.error}")
        self._display.update()

    def _keep(self, checkpoints: Checkpoints | None, report: Checkpointed | Paused) -> None:
        """Keep a checkpoint if one is due."""
        keys = tuple(trial.key for trial in report.trials)
        if checkpoints is None or not checkpoints.is_due(keys):
            return
        try:
            checkpoints.save(Saved(keys=keys, progress=report.progress))
        except OSError as error:
            # The sweep needs it only if it is killed, and the checkpoint before stays.
            if not self._told_of_disk:
                self._told_of_disk = True
                why = error.strerror or error
                self._display.say(f"no checkpoint could be written to {checkpoints.folder}: {why}")

    def _say(self, report: Retried) -> None:
        """Tell that trials are computed again: of a search for those that raise an error once, of a loss each time."""
        if not report.raised or report.error not in self._searched:
            self._display.say(retry_message(report))
        self._searched.add(report.error)


def compute_and_record(
    groups: Sequence[Group],
    dataset: Dataset,
    engine: Engine,
    record: Record,
    tally: Tally,
    display: Display,
    failures: Failures,
) -> None:
    """Follow groups to where each ends; trials that pause there end as stopped. Engine and record are closed."""
    handler = ReportHandler(record, tally, display, failures)
    with closing(record, engine, tally, display.say):
        for report in run(engine, groups, dataset):
            handler.take(report)
            if isinstance(report, Paused):
                for slot, (trial, layout) in enumerate(zip(report.trials, report.layouts, strict=True)):
                    handler.take(stopped(trial, report.progress.of_trials([slot]), layout, dataset))


def _failed(report: object) -> Failed | None:
    """Return a report's failure, if it is one: a trial may also have ended by itself, and its verdict be a failure."""
    if isinstance(report, Finished) and report.result.outcome is Outcome.FAILED:
        return Failed(trial=report.trial, error=report.result.message, traceback="")
    return report if isinstance(report, Failed) else None
