"""A Hydra callback and a resolver that keep what a job may see while it begins and ends."""

import logging
import os
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import OmegaConf

SEEN = []
"""What the callbacks of this process have seen, in order."""

NAMES = ("MYEXP", "COPIED")


def surroundings():
    """Return what is around a job: Hydra's answers, its working folder, its log, its environment."""
    hydra = HydraConfig.get()
    root = logging.getLogger()
    return {
        "hydra": OmegaConf.to_container(hydra, resolve=False, enum_to_str=True),
        "output_dir": hydra.runtime.output_dir,
        "override_dirname": hydra.job.override_dirname,
        "here": str(Path.cwd()),
        "logs": [handler.baseFilename for handler in root.handlers if isinstance(handler, logging.FileHandler)],
        "level": root.level,
        "environment": {name: os.environ.get(name) for name in NAMES},
    }


class Watching(Callback):
    """Keeps what it sees; ``begun`` is set as a job begins, for the same job as it ends."""

    def __init__(self):
        self.begun = None
        self.ended = 0

    def on_job_start(self, config, *, task_function, **_):
        self.begun = config.hydra.job.num
        files = sorted(file.name for file in Path(config.hydra.runtime.output_dir).rglob("*.yaml"))
        config = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
        SEEN.append(("start", self.begun, {**surroundings(), "files": files, "config": config, "task": task_function}))

    def on_job_end(self, config, job_return, **_):
        self.ended += 1
        result = {
            "working_dir": str(Path(config.hydra.runtime.cwd, job_return.working_dir)),
            "task_name": job_return.task_name,
            "status": job_return.status,
            "overrides": list(job_return.overrides),
            "cfg": OmegaConf.to_container(job_return.cfg, resolve=False),
            "hydra_cfg": OmegaConf.to_container(job_return.hydra_cfg, resolve=False, enum_to_str=True),
            "value": job_return._return_value,
        }
        SEEN.append(("end", config.hydra.job.num, {**surroundings(), **result, "begun": self.begun}))

    def on_multirun_end(self, config, **_):
        SEEN.append(("multirun end", self.ended, {}))
