"""The record of a sweep: opened in the background, and always closed."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.background import in_background
from pipeline.config.schema import Config
from pipeline.engine.machine import cpu_count
from pipeline.engine.protocol import Engine
from pipeline.errors import Interrupted
from pipeline.figures.drawers import DrawingProcesses
from pipeline.figures.drawings import all_figures
from pipeline.record.protocol import CHECKPOINTS, Provenance, Resumption, SweepHeader
from pipeline.results.tally import Tally
from pipeline.sweep.checkpoints import Checkpoints
from pipeline.sweep.unresumed import unresumed
from pipeline.tracking.mlflow_recorder import MlflowRecorder
from pipeline.tracking.unfinished import find_past
from tasks.datasets.dataset import Dataset
from tasks.errors import SweepError

DRAWERS = 2
"""The processes that draw a sweep's figures: the slowest figure takes as long as two others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The head of a record: the ``sweep`` (None for a lone trial), its data, and the provenance of its trials."""

    sweep: SweepHeader | None
    dataset: Dataset
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRecord:
    """An open record: for a sweep its checkpoints and, if it goes on, what an earlier process has left of it.

    ``unresumed`` says why a resume has found nothing.
    """

    checkpoints: Checkpoints | None = None
    resumption: Resumption | None = None
    unresumed: str = ""


class Record:
    """A record that is opened in the background; its recorder takes reports meanwhile."""

    def __init__(self, recorder: MlflowRecorder, opening: Future[OpenRecord]) -> None:
        self.recorder = recorder
        self._opening = opening

    def opened(self) -> OpenRecord:
        """Wait until the record is open; raise the error if it cannot be opened."""
        return self._opening.result()

    @property
    def is_open(self) -> bool:
        """Whether `opened` returns at once, or raises at once."""
        return self._opening.done()

    def checkpoints(self) -> Checkpoints | None:
        """Return a sweep's checkpoints, None while the record is not open; raise the error if it cannot be opened."""
        return self.opened().checkpoints if self.is_open else None

    def sync(self) -> None:
        """Return once all reports so far are on the disk; wait until the record is open."""
        self.opened()
        self.recorder.sync()

    def close(self, status: str) -> None:
        """Close the record once it is open; keep the checkpoints of a sweep that has not finished."""
        checkpoints = self.opened().checkpoints
        try:
            self.recorder.close(status)
        finally:
            if checkpoints is not None:
                checkpoints.close(done=status == "FINISHED")


def make_recorder(config: Config, folder: Path, *, lone: bool) -> MlflowRecorder:
    """Return the recorder of a lone trial or a sweep, with its log in ``folder``."""
    return MlflowRecorder(
        config.tracking.uri,
        config.tracking.experiment,
        folder=folder,
        figures=all_figures(),
        drawers=None if lone else DrawingProcesses(min(DRAWERS, cpu_count())),
        register_model=config.tracking.register_model,
    )


def open_record(
    recorder: MlflowRecorder, connecting: Future[Any], config: Config, head: Header, folder: Path
) -> OpenRecord:
    """Open the record once its store is connected; a sweep's checkpoints are in ``folder``."""
    connecting.result()
    sweep, dataset = head.sweep, head.dataset
    if sweep is None:
        recorder.open(None, dataset, head.provenance)
        return OpenRecord()
    past = find_past(recorder.uri, config.tracking.experiment, sweep.key) if config.sweep.resume else None
    missing = config.sweep.resume and past is None
    tags = {**head.provenance.tags, **sweep.tags, "dataset.digest": dataset.digest}
    why = unresumed(recorder.uri, config.tracking.experiment, sweep, tags) if missing else ""
    # Lock the folder first: only its holder may touch the sweep's runs.
    kept = Path(past.tags[CHECKPOINTS]) if past and CHECKPOINTS in past.tags else None
    checkpoints = Checkpoints(kept) if kept and kept.parent.is_dir() else Checkpoints.fresh(folder)
    try:
        sweep = dataclasses.replace(sweep, tags={**sweep.tags, CHECKPOINTS: str(checkpoints.folder)})
        resumption = recorder.open(sweep, dataset, head.provenance, past)
    except BaseException:
        checkpoints.close(done=past is None)
        raise
    return OpenRecord(checkpoints=checkpoints, resumption=resumption, unresumed=why)


@contextlib.contextmanager
def closing(record: Record, engine: Engine, tally: Tally, print_line: Callable[[str], object]) -> Iterator[None]:
    """Close engine and record at the end, also after an error: the workers end while the last figures are drawn.

    ``print_line`` shows an error that does not decide the exit status.
    """
    status, raised = "KILLED", None
    try:
        yield
        status = "FAILED" if tally.failed or tally.done < len(tally.standings) else "FINISHED"
    except BaseException as stopping:
        status, raised = "FAILED" if isinstance(stopping, Exception) else status, stopping
        raise
    finally:
        written = in_background(lambda: record.close(status))
        try:
            engine.close()
        finally:
            error = _awaited(written, record, print_line)
        if isinstance(error, SweepError | OSError) and raised is not None and raised is not error:
            print_line(f"error: {error}")  # what stopped the sweep is raised, and decides the exit status
        elif error is not None:
            raise error


def _awaited(written: Future[None], record: Record, print_line: Callable[[str], object]) -> BaseException | None:
    """Return the error that closing the record ended in, if any.

    A first signal ends the wait for a store that does not answer, and is raised once the record is closed; a second
    ends the process.
    """
    try:
        return written.exception()
    except Interrupted:
        record.recorder.hurry()
        error = written.exception()
        if error is not None:
            print_line(f"error: {error}")
        raise
