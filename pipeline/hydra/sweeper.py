"""The Hydra sweeper: the grid as Hydra's basic sweeper makes it, composed once, and with a default grid."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import OverrideParseException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from pipeline.config.schema import TABLES
from pipeline.hydra.composer import Composer
from pipeline.hydra.folders import claim_folder
from pipeline.hydra.groups import choices_with
from pipeline.hydra.launcher import SweepLauncher
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
        ours = self.launcher.composer if isinstance(self.launcher, SweepLauncher) else None
        composer = ours or Composer(self.hydra_context.config_loader, self.config)
        jobs = self._jobs(arguments, composer)

        if claim_folder(self.config):
            composer.forget()
        # This project's launcher composes all jobs before it starts any; others may not.
        if ours is None:
            self.validate_batch_is_legal(jobs)
        results = self.launcher.launch(jobs, initial_job_idx=0)
        for result in results:
            _ = result.return_value  # raises the error of a job that failed
        return [results]

    def _jobs(self, arguments: Sequence[str], composer: Composer) -> list[list[str]]:
        """Return the overrides of each job; where presets are swept, each with its own ``params``."""
        parser = OverridesParser.create()
        texts = [_recalled(text) for text in arguments]
        given = parser.parse_overrides(texts)
        swept = [override for override in given if override.is_sweep_override()]
        groups = {override.get_key_element() for override in swept if composer.is_group(override.key_or_group)}
        own = _plain(self.params)
        if groups:
            outer = [one for one in given if one not in swept or one.get_key_element() in groups]
            grids = {tuple(job): _params(composer, job) for job in combinations(outer)}
            if any(params != own for params in grids.values()):
                parts = [[*_texts(params), *texts, *job] for job, params in grids.items()]
                return [job for part in parts for job in combinations(parser.parse_overrides(part))]
        grid = own if own or swept else _plain(self.default_grid)
        return combinations([*parser.parse_overrides(_texts(grid)), *given])


def deferred(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a multirun with the values in ``choice()`` of the keys that not all choices have.

    Hydra composes the config of the sweep itself with the default choice of each group that is swept, and refuses a
    key that this one lacks, but only looks at what is swept as it composes the jobs.

    >>> deferred(["optimizer=sgd,adam", "optimizer.beta1=0.8", "loss=svm", "loss.margin=2"])
    ['optimizer=sgd,adam', 'optimizer.beta1=choice(0.8)', 'loss=svm', 'loss.margin=2']
    """
    chosen = {key for key, _, value in (text.partition("=") for text in arguments) if value in TABLES.get(key, ())}
    return [text if text.partition(".")[0] in chosen else _deferred(text) for text in arguments]


def _deferred(text: str) -> str:
    key, _, value = text.partition("=")
    override = _of_some(text)
    return text if override is None or override.is_sweep_override() else f"{key}=choice({value})"


def _recalled(text: str) -> str:
    """Return an argument as it was before `deferred`: Hydra does not quote again what it takes out of ``choice()``."""
    key, _, value = text.partition("=")
    override = _of_some(text) if value.startswith("choice(") else None
    alone = override is not None and len(list(override.sweep_string_iterator())) == 1
    return f"{key}={value.removeprefix('choice(').removesuffix(')')}" if alone else text


def _of_some(text: str) -> Override | None:
    """Return the override, if it is of a key that some choices of its group have and others have not."""
    if not choices_with(text.partition("=")[0]):
        return None
    try:
        return OverridesParser.create().parse_override(text)
    except OverrideParseException:
        return None  # Hydra will refuse it


def _params(composer: Composer, overrides: Sequence[str]) -> dict[str, Any]:
    """Return what the presets among some overrides sweep over."""
    return _plain(composer.compose(overrides, 0).base.config.hydra.sweeper.get("params") or {})


def _plain(params: Any) -> dict[str, Any]:
    values = OmegaConf.to_container(OmegaConf.create(params), resolve=True)
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items()}


def _texts(params: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_text(value)}" for name, value in params.items()]


def _text(value: Any) -> str:
    """Return a value of a YAML file as the command line has it; a text is the command line's already.

    >>> _text([None, True, 0.5]), _text("range(3)")
    ('[null,true,0.5]', 'range(3)')
    """
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{_text(inner)}' for name, inner in value.items())}}}"
    return value if isinstance(value, str) else json.dumps(value)


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
