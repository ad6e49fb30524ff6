"""Hydra's own suites for launchers and sweepers, which its wheel brings, run against ours.

Two parts of them do not apply. Our sweeper launches its whole grid at once, since what stands in one batch is fused:
the suite of batches is run with our launcher under Hydra's sweeper, whose batches it must keep apart. And our launcher
writes one log for a sweep, in the sweep's folder, where the suites look for one in each job's: that, as the task
functions of the suites, is brought by the step that stands for our sweep (`suite_launcher`). They take for granted that
jobs work in their folders, as they did by default in Hydra 1.1.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import version
from hydra.extra.pytest_plugin import hydra_restore_singletons, hydra_sweep_runner  # noqa: F401  # fixtures
from hydra.test_utils import test_utils
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite

from tests.pipeline import commands
from tests.pipeline.hydra import suite_launcher

CHDIR = "hydra.job.chdir=true"
LAUNCHER = ["-m", "hydra/launcher=suite"]


@pytest.fixture(autouse=True)
def registered(hydra_restore_singletons):  # noqa: F811
    version.setbase("1.3")
    suite_launcher.register()


@pytest.mark.parametrize(
    ("launcher_name", "overrides"), [("suite", [CHDIR]), ("suite", [CHDIR, "hydra/sweeper=suite"])]
)
class TestLauncher(LauncherTestSuite):
    """Jobs of a sweep, alone under Hydra's sweeper and under ours."""


@pytest.mark.parametrize(("launcher_name", "overrides"), [("suite", [CHDIR, "hydra.sweeper.max_batch_size=2"])])
class TestBatches(BatchedSweeperTestSuite):
    """Jobs that come in several batches."""


@pytest.mark.slow
@pytest.mark.parametrize(("task_launcher_cfg", "extra_flags"), [({}, [*LAUNCHER, "hydra/sweeper=suite"])])
class TestIntegration(IntegrationTestSuite):
    """Scripts of their own, each a process, which is forked."""

    @pytest.fixture(autouse=True)
    def forked(self, monkeypatch):
        def check_call(command, env):
            end = commands.run(command[1:], Path.cwd(), **env)
            assert end.returncode == 0, end.stderr

        monkeypatch.setattr(test_utils, "subprocess", SimpleNamespace(check_call=check_call))

    def generate_custom_cmd(self):
        return lambda command, _: [command[0], str(Path(suite_launcher.__file__)), *command[1:]]

    def test_to_absolute_path_multirun(self, tmpdir, task_launcher_cfg, extra_flags):
        # Two sweeps are sent to one folder, where the second is to overwrite the first: our sweeper leaves it alone.
        super().test_to_absolute_path_multirun(tmpdir, task_launcher_cfg, LAUNCHER)
