"""Our launcher and sweeper as Hydra's own test suites can use them; as a script, ``python THIS TASK.py OVERRIDES``.

The suites bring configs and task functions of their own, which are no trials: only the step between the beginning and
the end of the jobs, where our launcher runs a sweep, calls the task function instead.
"""

import runpy
import sys

from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import env_override

from pipeline import hydra as plugins
from pipeline.hydra.folders import write_folders
from pipeline.hydra.job_context import as_hydra_job
from pipeline.hydra.launcher import SweepLauncher


class SuiteLauncher(SweepLauncher):
    """Our launcher, around the suite's task function."""

    def run(self, jobs, folder):
        write_folders({one.folder: one.job for one in jobs})
        return {one.job.number: self.call(one) for one in jobs}

    def call(self, begun):
        with as_hydra_job(begun.job.config(), begun.folder, log=True), env_override(dict(begun.environment)):
            return self.task_function(self.task_config(begun))

    def task_config(self, begun):
        from omegaconf import OmegaConf

        config = OmegaConf.create(dict(begun.job.values))
        OmegaConf.copy_cache(from_config=begun.job.base.config, to_config=config)
        return config


def register():
    plugins.register()
    SuiteLauncher.__module__ = plugins.NAMESPACE
    plugins.SuiteLauncher = SuiteLauncher
    Plugins.instance().register(SuiteLauncher)
    store = ConfigStore.instance()
    # A test before may have run our command, whose defaults are in conf/, which the suites do not have.
    store.store(group="hydra", name="config", node=HydraConf(), provider="hydra")
    launcher, sweeper = (f"{plugins.NAMESPACE}.{name}" for name in ("SuiteLauncher", "GridSweeper"))
    store.store(group="hydra/launcher", name="suite", node={"_target_": launcher})
    store.store(group="hydra/sweeper", name="suite", node={"_target_": sweeper, "params": {}, "default_grid": {}})


if __name__ == "__main__":
    register()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
