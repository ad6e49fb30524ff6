"""Following a sweep: what its engine reports is recorded, tallied and shown until every trial has ended."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from pipeline.config.schema import Config
from pipeline.display.console import Display, told_of_retry
from pipeline.engine.protocol import Engine, run
from pipeline.errors import Interrupted
from pipeline.plan.plan import Group
from pipeline.reports import Checkpointed, Failed, Finished, Paused, Retried, TrialReport
from pipeline.results.failures import Failures
from pipeline.results.tally import Tally
from pipeline.sweep.checkpoint_file import Saved
from pipeline.sweep.checkpoints import Checkpoints
from pipeline.sweep.start import Record
from tasks.datasets.dataset import Dataset
from tasks.errors import SweepError
from tasks.events import Outcome


def compute(
    groups: Sequence[Group],
    dataset: Dataset,
    engine: Engine,
    record: Record,
    tally: Tally,
    display: Display,
    config: Config,
    failures: Failures,
) -> None:
    """Record what the engine reports until every trial has ended; close engine and record whatever happens.

    Trials are computed while the record is being opened; they are stopped if it cannot be.
    """
    status, told, searched = "KILLED", False, set[str]()
    try:
        for report in run(engine, groups, dataset):
            checkpoints = record.checkpoints()  # raises, where the record cannot be opened
            if isinstance(report, Checkpointed | Paused):
                unwritten = _keep(checkpoints, report)
                if unwritten and not told:
                    display.say(unwritten)
                    told = True
                continue
            record.recorder.take(report)
            if isinstance(report, Retried):
                _say(display, report, searched)
                continue
            tally.take(report)
            failed = _failed(report)
            if failed is not None and failures.take(failed):
                display.say(f"failed: {failed.trial.name}: {failed.error}")
            display.update()
            if tally.failed and config.sweep.fail_fast:
                break
        status = "FAILED" if tally.failed else "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        # The workers end while the last figures are drawn.
        written = record.close_in_background(status)
        try:
            engine.close()
        finally:
            error = _awaited(written, record, display)
        if isinstance(error, SweepError | OSError) and status == "KILLED":
            display.say(f"error: {error}")  # the signal that stopped the sweep decides how the command ends
        elif error is not None:
            raise error


def _say(display: Display, report: Retried, searched: set[str]) -> None:
    """Tell that trials are computed again: of the search for those that raise an error once, of a loss each time."""
    if not report.raised or report.error not in searched:
        display.say(told_of_retry(report))
    searched.add(report.error)


def _failed(report: TrialReport) -> Failed | None:
    """Return a report's failure, if it is one: a trial may also have ended by itself, and its verdict be a failure."""
    if isinstance(report, Finished) and report.result.outcome is Outcome.FAILED:
        return Failed(trial=report.trial, error=report.result.message, traceback="")
    return report if isinstance(report, Failed) else None


def _awaited(written: Future[None], record: Record, display: Display) -> BaseException | None:
    """Return why the record could not be written, if so.

    A first signal ends the waiting for a store that does not answer, and is heard once the record is closed; a second
    ends all.
    """
    try:
        return written.exception()
    except Interrupted:
        record.recorder.hurry()
        error = written.exception()
        if error is not None:
            display.say(f"error: {error}")
        raise


def _keep(checkpoints: Checkpoints | None, report: Checkpointed | Paused) -> str | None:
    """Keep a checkpoint if one is due; return why it could not be kept."""
    keys = tuple(trial.key for trial in report.trials)
    if checkpoints is None or not checkpoints.is_due(keys):
        return None
    try:
        checkpoints.save(Saved(keys=keys, progress=report.progress))
    except OSError as error:
        # The sweep needs it only if it is killed, and the checkpoint before stays.
        return f"no checkpoint could be written to {checkpoints.folder}: {error.strerror or error}"
    return None
