"""The Hydra sweeper: the grid as Hydra's basic sweeper makes it, composed once, and with a default grid."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from pipeline.plugins.folders import claim_folder
from pipeline.plugins.launcher import SweepLauncher
from tasks.errors import ConfigError


class GridSweeper(Sweeper):
    """All combinations of the values on the command line and of the ``params`` of a preset.

    ``default_grid`` is swept over where neither sweeps over anything; a fixed value on the command line still
    replaces the values of its key in it. (Hydra's own sweeper is not inherited from: its scan for plug-ins
    executes that module anew, which breaks classes derived from it before.)
    """

    def __init__(self, params: Any, default_grid: Any) -> None:
        self.params = params or {}
        self.default_grid = default_grid or {}
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives, and start the launcher."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> Any:
        """Launch every point of the grid in one batch, and return the results in a list of one batch."""
        assert self.hydra_context is not None
        assert self.config is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = parser.parse_overrides(arguments)
        swept = bool(self.params) or any(override.is_sweep_override() for override in given)
        grid = self.params if swept else self.default_grid
        preset = parser.parse_overrides([f"{name}={values}" for name, values in grid.items()])
        jobs = combinations([*preset, *given])

        claim_folder(self.config)
        # This project's launcher composes all jobs before it starts any; others may not.
        if not isinstance(self.launcher, SweepLauncher):
            self.validate_batch_is_legal(jobs)
        results = self.launcher.launch(jobs, initial_job_idx=0)
        for result in results:
            _ = result.return_value  # raises the error of a job that failed
        return [results]


def combinations(overrides: Sequence[Override]) -> list[list[str]]:
    """Return the overrides of each job: every combination of the values, the last key varying fastest.

    Raises
    ------
    ConfigError
        If an override has no value, or values that cannot be listed.
    """
    values: dict[str, list[str]] = {}
    for override in overrides:
        name, text = override.get_key_element(), override.input_line
        if not override.is_sweep_override():
            # A deletion has no value of its own: its element reads like one of null.
            plain = override.is_delete() and override.value() is None
            values[name] = [name if plain else f"{name}={override.get_value_element_as_str()}"]
            continue
        if not override.is_discrete_sweep():
            raise ConfigError(f"{override.key_or_group} must be swept over values that can be listed, got {text}")
        values[name] = [f"{name}={value}" for value in override.sweep_string_iterator()]
        if not values[name]:
            raise ConfigError(f"{override.key_or_group} must have at least one value, got {text}")
    return [list(job) for job in itertools.product(*values.values())]
