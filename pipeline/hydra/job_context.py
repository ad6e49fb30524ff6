"""The context that Hydra gives to a job besides its config: HydraConfig, folder, log, environment and callbacks."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, configure_log, env_override
from hydra.types import TaskFunction
from omegaconf import DictConfig, open_dict, read_write

from pipeline.address import redact
from pipeline.hydra.composer import Job
from pipeline.hydra.folders import make_folder, write_folders

if TYPE_CHECKING:
    from hydra._internal.callbacks import Callbacks  # Hydra gives it to a launcher; no more than its type is private


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedJob:
    """A job that has started: its folder, its values and its environment, resolved in its context.

    ``marks`` are the attributes that each callback has set on itself at the job's start.
    """

    job: Job
    folder: str
    values: Mapping[str, Any]
    environment: Mapping[str, str]
    marks: Sequence[Mapping[str, Any]] = ()


@contextmanager
def as_hydra_job(config: DictConfig, folder: str, *, log: bool) -> Iterator[DictConfig]:
    """Provide the context that `hydra.core.utils.run_job` gives to the job of a config, except for the environment.

    (Hydra sets the environment while the job runs, but not at its end.) ``folder`` is the job's output folder,
    absolute, and its working folder if ``hydra.job.chdir``; its log is opened if ``log``.
    """
    before, here = HydraConfig.instance().cfg, os.getcwd()  # noqa: PTH109  # Hydra keeps texts
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = folder
    HydraConfig.instance().set_config(config)
    try:
        if log or config.hydra.job.chdir:
            make_folder(folder)
        if config.hydra.job.chdir:
            os.chdir(folder)
        if log:
            configure_log(config.hydra.job_logging, config.hydra.verbose)
        yield config
    finally:
        HydraConfig.instance().cfg = before
        os.chdir(here)


def start_job(job: Job, callbacks: Callbacks | None, task_function: TaskFunction) -> StartedJob:
    """Start a job as `hydra.core.utils.run_job` does, with the same visible effects.

    Its context takes milliseconds, so it is skipped for a job without callbacks whose values do not depend on it.
    """
    folder, environment = job.folder(), job.base.hydra["job"]["env_set"]
    if callbacks is None and not job.uses_job_context():
        return StartedJob(job=job, folder=folder, values=job.resolved(), environment=environment)
    marks: list[Mapping[str, Any]] = []
    with (
        as_hydra_job(job.config(), folder, log=callbacks is not None) as config,
        env_override(config.hydra.job.env_set),
    ):
        if callbacks is not None:
            write_folders({folder: job})
            before = [dict(vars(callback)) for callback in callbacks.callbacks]
            callbacks.on_job_start(config=config, task_function=task_function)
            marks = [_set(old, vars(callback)) for old, callback in zip(before, callbacks.callbacks, strict=True)]
        environment = {str(name): str(value) for name, value in config.hydra.job.env_set.items()}
        return StartedJob(job=job, folder=folder, values=job.resolved(), environment=environment, marks=marks)


def end_job(begun: StartedJob, value: Any, callbacks: Callbacks | None) -> JobReturn:
    """End a job as `hydra.core.utils.run_job` does; ``value`` is its return value, or the exception that it raised."""
    result: JobReturn = LazyReturn(begun)
    moves = begun.job.base.hydra["job"]["chdir"]
    result.working_dir = begun.folder if moves else os.getcwd()  # noqa: PTH109
    result.task_name = JobRuntime.instance().get("name")
    result.status = JobStatus.FAILED if isinstance(value, Exception) else JobStatus.COMPLETED
    result.return_value = value
    if callbacks is not None:
        with as_hydra_job(begun.job.config(), begun.folder, log=True) as config:
            # Since then the callbacks have seen other jobs start.
            for callback, own in zip(callbacks.callbacks, begun.marks, strict=True):
                vars(callback).update(own)
            callbacks.on_job_end(config=config, job_return=result)
    return result


class LazyReturn(JobReturn):
    """A job's result whose configs are built when they are read, since each takes milliseconds."""

    def __init__(self, begun: StartedJob) -> None:
        # Not that of Hydra's class, which would set the configs.
        self.overrides = list(map(redact, begun.job.overrides))  # Hydra prints those of a failed job
        self._begun = begun

    @functools.cached_property
    def cfg(self) -> DictConfig:  # type: ignore[override]  # a cached property can be set, too
        """The job's config without the ``hydra`` node."""
        with as_hydra_job(self._begun.job.config(), self._begun.folder, log=False) as config:
            task = copy.deepcopy(config)
            with read_write(task), open_dict(task):
                del task["hydra"]
        return task

    @functools.cached_property
    def hydra_cfg(self) -> DictConfig:  # type: ignore[override]
        """The ``hydra`` node, which knows the rest of the config."""
        with as_hydra_job(self._begun.job.config(), self._begun.folder, log=False):
            return cast("DictConfig", copy.deepcopy(HydraConfig.instance().cfg))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a plain `JobReturn`, which can be read without this package."""
        plain = (self.overrides, self.cfg, self.hydra_cfg, self.working_dir, self.task_name, self.status)
        return JobReturn, (*plain, self._return_value)


def _set(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in after.items() if name not in before or before[name] is not value}
