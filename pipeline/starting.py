"""What a sweep needs before its first trial, started side by side: the engine, the record, the data."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Self, TypeVar

from pipeline.engine.inprocess import InProcess
from pipeline.engine.protocol import Engine
from pipeline.recorder.protocol import Recorder, SweepHeader
from pipeline.schema import Config
from tasks.datasets.dataset import Dataset

T = TypeVar("T")


def worker_count(config: Config) -> int:
    """Return how many groups are computed at once."""
    return config.cluster.workers or max(1, _cpus() // config.cluster.cpus_per_worker)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_engine(config: Config, *, lone: bool) -> Engine:
    """Return the engine that the config names; by default a lone trial is computed in this process."""
    if (config.engine or ("inprocess" if lone else "ray")) == "inprocess":
        return InProcess(threads=_cpus(), device=config.device, timeout=config.limits.timeout)
    from pipeline.engine.ray_engine import RayEngine  # noqa: PLC0415  # Ray is imported where it is used

    return RayEngine(
        config.cluster,
        workers=worker_count(config),
        device=config.device,
        attempts=config.limits.attempts,
        timeout=config.limits.timeout,
    )


def open_recorder(config: Config, header: Future[tuple[SweepHeader | None, Dataset]]) -> Recorder:
    """Open the record once the header is known."""
    from pipeline.recorder.mlflow_recorder import MlflowRecorder  # noqa: PLC0415  # MLflow takes seconds to import

    recorder = MlflowRecorder(config.tracking.uri, config.tracking.experiment)
    recorder.open(*header.result())
    return recorder


class Closing:
    """Closes a record that was opened although the sweep could not start."""

    def __init__(self, opening: Future[Recorder]) -> None:
        self._opening = opening
        self.recorder: Recorder | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.recorder is None and self._opening.exception() is None:
            self._opening.result().close("FAILED")


def later(work: Callable[[], T]) -> Future[T]:
    """Start work in a thread that nobody waits for when the process ends."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  # it is raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
