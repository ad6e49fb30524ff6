"""The engine of a sweep, the number of its workers, and the most trials in a group."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.config.schema import Config
from pipeline.engine.capacity import fit
from pipeline.engine.inprocess import InProcess
from pipeline.engine.machine import cpu_count, memory
from pipeline.engine.protocol import Engine
from pipeline.plan.plan import WIDEST
from pipeline.provenance import versions
from pipeline.signals import deferred
from tasks.arrays.devices import DEVICE_BLOCKS, HOST_BLOCKS, available_memory, count_gpus, library_for
from tasks.datasets.dataset import Dataset
from tasks.errors import require
from tasks.memory import widest_group
from tasks.trial import Trial


def worker_count(config: Config) -> int:
    """Return the number of Ray's workers: by default as many as the visible CPUs or GPUs allow."""
    if config.cluster.workers is not None:
        return config.cluster.workers
    if config.device == "cpu":
        return max(1, fit("CPU", cpu_count(), config.cluster.cpus_per_worker))
    return max(1, fit("GPU", count_gpus(), config.cluster.gpus_per_worker or 1.0))


def in_process(config: Config, *, lone: bool) -> bool:
    """Return whether the trials are computed in this process, one group after another; by default a lone one is."""
    return (config.engine or ("inprocess" if lone else "ray")) == "inprocess"


def group_count(config: Config, *, lone: bool) -> int:
    """Return how many groups are computed at once, as far as is known before the engine starts."""
    return 1 if in_process(config, lone=lone) else worker_count(config)


def thread_count(config: Config, *, lone: bool) -> int:
    """Return how many threads a group is computed with."""
    return cpu_count() if in_process(config, lone=lone) else max(1, int(config.cluster.cpus_per_worker))


def widest(config: Config, dataset: Dataset, *, lone: bool) -> Callable[[Sequence[Trial]], int]:
    """Return the function that gives how many of some trials a group has at most: as many as fit in a worker's memory.

    On a CPU it is at most `WIDEST`; other nodes are taken to have this machine's CPUs and memory.
    """
    fitting = functools.partial(widest_group, dataset=dataset, threads=thread_count(config, lone=lone))
    if config.device == "cpu":
        workers = group_count(config, lone=lone)
        if not _is_here(config):  # then so many are on several nodes
            workers = min(workers, max(1, fit("CPU", cpu_count(), config.cluster.cpus_per_worker)))
        share = memory() // workers
        return lambda trials: min(WIDEST, fitting(trials, available=share, blocks=HOST_BLOCKS))
    available = int(available_memory() * min(1.0, config.cluster.gpus_per_worker or 1.0))
    return lambda trials: fitting(trials, available=available, blocks=DEVICE_BLOCKS)


def _is_here(config: Config) -> bool:
    """Return whether the sweep takes the cluster of this machine, joined or private: no other is named."""
    return config.cluster.address in {None, "local"} and not os.environ.get("RAY_ADDRESS")


def make_engine(config: Config, *, lone: bool, meanwhile: Callable[[], object] = lambda: None) -> Engine:
    """Return the engine that the config names; by default a lone trial is computed in this process.

    ``meanwhile`` is called while a private cluster starts, and has to return at once.

    Raises
    ------
    ConfigError
        If the device is not available: on this machine, or, on a cluster, because its workers are given no GPU.
    """
    inprocess = in_process(config, lone=lone)
    if inprocess or _is_here(config):
        library_for(config.device)
    gpus = config.cluster.gpus_per_worker
    given = inprocess or config.device == "cpu" or gpus > 0
    require(given, "cluster.gpus_per_worker", "must be > 0 for device=cuda", gpus)
    options: dict[str, Any] = {
        "device": config.device,
        "timeout": config.limits.timeout or math.inf,
        "checkpoint_every": config.limits.checkpoint_every,
    }
    if inprocess:
        return InProcess(threads=cpu_count(), **options)
    # Ray is imported only if it is used. No signal interrupts it: after half an import, Ray's exit handlers would fail.
    with deferred("Ray has to be imported first"):
        from pipeline.engine.ray_client import ClientEngine  # noqa: PLC0415
        from pipeline.engine.ray_cluster import through_client  # noqa: PLC0415
        from pipeline.engine.ray_engine import RayEngine  # noqa: PLC0415

    options |= {"workers": worker_count(config), "attempts": config.limits.attempts, "versions": versions()}
    if through_client(config.cluster):
        return ClientEngine(config.cluster, **options)
    return RayEngine(config.cluster, **options, meanwhile=meanwhile)
