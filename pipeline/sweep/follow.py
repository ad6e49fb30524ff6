"""The handling of a sweep's reports: each is recorded, tallied and shown."""

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
    Notice,
    Paused,
    Planned,
    Report,
    Retried,
    Searched,
)
from pipeline.results.decisions import sentence
from pipeline.results.failures import Failures
from pipeline.results.tally import Tally
from pipeline.sweep.checkpoints import Checkpoints
from pipeline.sweep.opening import Record, closing
from pipeline.sweep.trial_scheduler import stopped
from tasks.datasets.dataset import Dataset
from tasks.events import Outcome


class ReportHandler:
    """Passes every report to the record, the tally, the display and the failures; writes checkpoints.

    Trials are computed while the record is being opened; `handle` raises if it cannot be opened.
    """

    def __init__(self, record: Record, tally: Tally, display: Display, failures: Failures) -> None:
        self._record, self._tally, self._display, self._failures = record, tally, display, failures
        self._disk_reported = False
        self._shown_errors = set[str]()

    def handle(self, report: Report) -> None:
        """Handle a report."""
        if isinstance(report, Notice):
            self._display.print_line(report.text)
            return
        checkpoints = self._record.checkpoints()
        if isinstance(report, Checkpointed | Paused):
            self._keep(checkpoints, report)
            return
        self._record.recorder.record(report)
        match report:
            case Retried():
                self._show_retry(report)
            case Planned(trials=trials):
                self._tally.add(trials)
            case Decided():
                decision = report.decision
                # Where all go on, as at most rungs of the median rule, there is nothing to say.
                if decision.complete and (decision.stopped or 0 < len(decision.passed) < decision.arrived):
                    self._display.print_line(sentence(report))
            case Searched() | Measured():
                pass
            case _:
                self._tally.count(report)
        if checkpoints is not None and isinstance(report, Finished):
            checkpoints.end(report.trial.key)
        failed = _failed(report)
        if failed is not None and self._failures.add(failed):
            self._display.print_line(f"failed: {failed.trial.name}: {failed.error}")
        self._display.update()

    def _keep(self, checkpoints: Checkpoints | None, report: Checkpointed | Paused) -> None:
        """Count trials that have paused, and write a checkpoint if one is due."""
        if isinstance(report, Paused):
            self._tally.pause(report.trials)
        keys = tuple(trial.key for trial in report.trials)
        if checkpoints is None or not checkpoints.is_due(keys):
            return
        try:
            checkpoints.save(keys, report.progress)
        except OSError as error:
            # Only a resume needs the checkpoint, and the one before is still there.
            if not self._disk_reported:
                self._disk_reported = True
                why = error.strerror or error
                self._display.print_line(f"no checkpoint could be written to {checkpoints.folder}: {why}")

    def _show_retry(self, report: Retried) -> None:
        """Show a retry: after the loss of a worker every time, after an error only once."""
        if not report.raised or report.error not in self._shown_errors:
            self._display.print_line(retry_message(report))
        self._shown_errors.add(report.error)


def compute_and_record(
    groups: Sequence[Group],
    dataset: Dataset,
    engine: Engine,
    record: Record,
    tally: Tally,
    display: Display,
    failures: Failures,
) -> None:
    """Compute groups and handle their reports; trials that pause end as stopped. Close engine and record."""
    handler = ReportHandler(record, tally, display, failures)
    with closing(record, engine, tally, display.print_line):
        for report in run(engine, groups, dataset):
            handler.handle(report)
            if isinstance(report, Paused):
                for one in report.each():
                    handler.handle(stopped(one, dataset))


def _failed(report: object) -> Failed | None:
    """Return a report's failure, if it is one: Failed, or the end of a trial whose own verdict is failed."""
    if isinstance(report, Finished) and report.result.outcome is Outcome.FAILED:
        return Failed(trial=report.trial, error=report.result.message, traceback="")
    return report if isinstance(report, Failed) else None
