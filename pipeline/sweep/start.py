"""What a sweep needs before its first trial, started side by side: the engine, the record, the data."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pipeline.background import later
from pipeline.config.schema import Config
from pipeline.engine.inprocess import InProcess
from pipeline.engine.protocol import Engine
from pipeline.errors import EngineError
from pipeline.figures.drawers import DrawingProcesses
from pipeline.figures.drawing import draw, draw_quickly, sweep_figures
from pipeline.plan.plan import WIDEST
from pipeline.record.backfilling import backfill, journals_of
from pipeline.record.mlflow_recorder import MlflowRecorder
from pipeline.record.protocol import CHECKPOINTS, Past, Provenance, Recorder, SweepHeader
from pipeline.record.resumption import find_past
from pipeline.record.store import connect
from pipeline.results.fault_log import FaultLog
from pipeline.sweep.checkpoints import Checkpoints
from pipeline.sweep.unresumed import unresumed
from tasks.arrays.devices import ON_DEVICE, ON_HOST, available_memory, count_gpus, library_for
from tasks.datasets.dataset import Dataset
from tasks.errors import require
from tasks.memory import widest_group
from tasks.trial import Trial

DRAWERS = 2
"""Processes that draw the figures of a sweep: the longest takes as long as two others."""

BEHIND = 5
"""How nice the thread is that opens the store: Ray's start, which it runs beside, gets three times its CPU."""

_log = logging.getLogger(__name__)


def worker_count(config: Config) -> int:
    """Return how many groups are computed at once: where nothing is said, as many as the CPUs or GPUs seen allow."""
    if config.cluster.workers is not None:
        return config.cluster.workers
    if config.device == "cpu":
        return max(1, int(cpu_count() / config.cluster.cpus_per_worker))
    return max(1, int(count_gpus() / (config.cluster.gpus_per_worker or 1.0)))


def widest(config: Config, dataset: Dataset) -> Callable[[Trial], int]:
    """Return what says how many trials like one a group may have: as many as a worker's share of the memory holds.

    On a CPU no more than `WIDEST`; its memory is this machine's, on other nodes too.
    """
    if config.device == "cpu":
        share = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // worker_count(config)
        return lambda trial: min(WIDEST, widest_group(trial, dataset, available=share, most=ON_HOST))
    available = int(available_memory() * min(1.0, config.cluster.gpus_per_worker or 1.0))
    return lambda trial: widest_group(trial, dataset, available=available, most=ON_DEVICE)


def cpu_count() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_engine(config: Config, *, lone: bool) -> Engine:
    """Return the engine that the config names; by default a lone trial is computed in this process.

    Raises
    ------
    ConfigError
        If the device cannot be had: here, or, where a cluster computes, with the GPUs that its workers are given.
    """
    inprocess = (config.engine or ("inprocess" if lone else "ray")) == "inprocess"
    here = config.cluster.address in {None, "local"} and not os.environ.get("RAY_ADDRESS")
    if inprocess or here:
        library_for(config.device)
    gpus = config.cluster.gpus_per_worker
    given = inprocess or config.device == "cpu" or gpus > 0
    require(given, "cluster.gpus_per_worker", "must be > 0 for device=cuda", gpus)
    if inprocess:
        return InProcess(
            threads=cpu_count(),
            device=config.device,
            timeout=config.limits.timeout,
            checkpoint_every=config.limits.checkpoint_every,
        )
    # Ray is imported where it is used.
    from pipeline.engine.ray_client import ClientEngine  # noqa: PLC0415
    from pipeline.engine.ray_cluster import through_client  # noqa: PLC0415
    from pipeline.engine.ray_engine import RayEngine  # noqa: PLC0415

    engine = ClientEngine if through_client(config.cluster) else RayEngine
    return engine(
        config.cluster,
        workers=worker_count(config),
        device=config.device,
        attempts=config.limits.attempts,
        timeout=config.limits.timeout,
        checkpoint_every=config.limits.checkpoint_every,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a record begins with: the ``sweep``, None for a lone trial, its data, and the provenance of its trials."""

    sweep: SweepHeader | None
    dataset: Dataset
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What an open record has: for a sweep its checkpoints and, where it is resumed, what is known of its past.

    ``unresumed`` says why there is no past, where one was asked for.
    """

    checkpoints: Checkpoints | None = None
    past: Past | None = None
    unresumed: str = ""


class Record:
    """A record that is opened in the background; its recorder may be told of trials meanwhile.

    ``closed`` says that it is being closed, or has been.
    """

    def __init__(self, recorder: Recorder, opening: Future[Opened]) -> None:
        self.recorder = recorder
        self.closed = False
        self._opening = opening

    def opened(self) -> Opened:
        """Wait until the record is open, or raise why it cannot be."""
        return self._opening.result()

    def checkpoints(self) -> Checkpoints | None:
        """Return a sweep's checkpoints, None as long as the record is not open; raise why it cannot be."""
        return self.opened().checkpoints if self._opening.done() else None

    def failed_to_open(self) -> bool:
        """Wait until the record is open or cannot be, and return which."""
        return self._opening.exception() is not None

    def close_in_background(self, status: str) -> Future[None]:
        """Begin to close the record."""
        self.closed = True
        return later(lambda: self.close(status))

    def close(self, status: str) -> None:
        """Close the record once it is open; the checkpoints of a sweep that is not finished are kept."""
        self.closed = True
        checkpoints = self.opened().checkpoints
        try:
            self.recorder.close(status)
        finally:
            if checkpoints is not None:
                checkpoints.close(done=status == "FINISHED")


def make_recorder(config: Config, folder: Path, *, lone: bool) -> MlflowRecorder:
    """Return the recorder of a lone trial or a sweep, which keeps its journal in ``folder``."""
    return MlflowRecorder(
        config.tracking.uri,
        config.tracking.experiment,
        folder=folder,
        figures=draw,
        quick_figures=draw_quickly,
        sweep_figures=sweep_figures(),
        drawers=None if lone else DrawingProcesses(min(DRAWERS, cpu_count())),
        register_model=config.tracking.register_model,
    )


def open_record(
    recorder: MlflowRecorder,
    config: Config,
    header: Future[Header],
    running: Future[None],
    folder: Path,
) -> Opened:
    """Open the record once the header is known and the engine runs: nothing is recorded of a sweep that cannot start.

    A sweep keeps its checkpoints in ``folder``.
    """
    try:
        head = header.result()
        # A new store takes seconds to make: the engine starts meanwhile, and comes first where CPUs are few.
        connecting = later(lambda: connect(recorder.uri, create=True), nice=BEHIND)
        running.result()
        connecting.result()
        return _open(recorder, config, head, folder)
    except BaseException:
        recorder.drawers.close()
        raise


def _open(recorder: MlflowRecorder, config: Config, head: Header, folder: Path) -> Opened:
    sweep, dataset = head.sweep, head.dataset
    if sweep is None:
        recorder.open(None, dataset, head.provenance)
        return Opened()
    past = find_past(recorder.uri, config.tracking.experiment, sweep.key) if config.sweep.resume else None
    missing = config.sweep.resume and past is None
    told = unresumed(recorder.uri, config.tracking.experiment, sweep, dataset.digest) if missing else ""
    # The folder's lock comes first: who holds it may touch the sweep's runs.
    kept = Path(past.tags[CHECKPOINTS]) if past else None
    checkpoints = Checkpoints(kept) if kept and kept.parent.is_dir() else Checkpoints.fresh(folder)
    try:
        past = _backfilled(recorder.uri, config, sweep, past, FaultLog(folder))
        tags = {**sweep.provenance, CHECKPOINTS: str(checkpoints.folder)}
        recorder.open(dataclasses.replace(sweep, past=past, provenance=tags), dataset, head.provenance)
    except BaseException:
        checkpoints.close(done=past is None)
        raise
    return Opened(checkpoints=checkpoints, past=past, unresumed=told)


def _backfilled(uri: str, config: Config, sweep: SweepHeader, past: Past | None, log: FaultLog) -> Past | None:
    """Return what the record holds once it has what journals beside the checkpoints hold: that was computed already."""
    journals = [] if past is None else journals_of(Path(past.tags[CHECKPOINTS]).parent, past)
    if not journals:
        return past
    for journal in journals:
        done = backfill(journal, uri)
        _log.warning("%d writes that the record lacked are in it now, from %s", done.writes, journal)
        if done.losses:
            log.write(f"of {journal} is lost, and computed again", "\n".join(done.losses))
    return find_past(uri, config.tracking.experiment, sweep.key)


@contextlib.contextmanager
def started(engine: Engine, running: Future[None]) -> Iterator[None]:
    """Start an engine, and make known whether it runs."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(engine)
        except BaseException as error:
            running.set_exception(error)
            raise
        running.set_result(None)
        yield


class Closing:
    """Closes a record that was opened although the sweep could not start; what it still waits for will not come."""

    def __init__(self, record: Record, *awaited: Future[Any]) -> None:
        self._record = record
        self._awaited = awaited

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *traceback: object) -> None:
        if self._record.closed:
            return
        for future in self._awaited:
            if not future.done():
                future.set_exception(error or EngineError("the sweep has not started"))
        if not self._record.failed_to_open():
            failed = kind is not None and issubclass(kind, Exception)
            self._record.close("FAILED" if failed else "KILLED")
