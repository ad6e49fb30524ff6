"""The Hydra launcher: it composes all jobs, and hands them on as one sweep."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from pipeline.plan import Point
from pipeline.plugins.composer import Composer, Job
from pipeline.plugins.folders import write_folders
from pipeline.recorder.address import redact
from pipeline.schema import parse
from pipeline.sweep import run_points


class SweepLauncher(Launcher):
    """Runs all jobs of a batch as one sweep.

    A job's return value is the validation accuracy of its trial (`pipeline.tally.Standing.score`), for
    sweepers that optimise; a folded duplicate shares that of the trial it repeats.
    """

    def __init__(self) -> None:
        super().__init__()
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None
        self.task_function: TaskFunction | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives."""
        self.config, self.context, self.task_function = config, hydra_context, task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compose and validate every job, run the sweep, and return one result a job."""
        assert self.config is not None
        assert self.context is not None
        assert self.task_function is not None
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        composer = Composer(self.context.config_loader, self.config)
        jobs = [composer.compose(texts, initial_job_idx + place) for place, texts in enumerate(job_overrides)]
        points = [
            Point(index=job.number, overrides=tuple(map(redact, job.overrides)), config=parse(job.resolved()))
            for job in jobs
        ]

        callbacks = self.context.callbacks if self.config.hydra.callbacks else None
        if callbacks is not None:
            for job in jobs:
                callbacks.on_job_start(config=job.config(), task_function=self.task_function)
        overrides = tuple(map(redact, self.config.hydra.overrides.task))
        folder = Path(self.config.hydra.sweep.dir).absolute()
        ends = run_points(points, sweep=overrides, folder=folder, meanwhile=lambda: write_folders(jobs))
        returns = [_job_return(job, ends.get(job.number)) for job in jobs]
        # A config object takes milliseconds to make, so those that nobody reads are not.
        if callbacks is not None:
            for job, result in zip(jobs, returns, strict=True):
                result.cfg = OmegaConf.create(dict(job.values))
                callbacks.on_job_end(config=job.config(), job_return=result)
        return returns


def _job_return(job: Job, end: Any) -> JobReturn:
    result = JobReturn(overrides=job.overrides)
    result.working_dir = os.getcwd()  # noqa: PTH109  # Hydra keeps a text
    result.task_name = JobRuntime.instance().get("name")
    result.status = JobStatus.FAILED if isinstance(end, Exception) else JobStatus.COMPLETED
    result.return_value = end
    return result
