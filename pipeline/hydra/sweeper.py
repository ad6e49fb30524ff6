"""The Hydra sweeper: the grid of Hydra's basic sweeper, composed once, and a default grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import OverrideParseException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from pipeline.config.tables import TABLES
from pipeline.hydra.composer import Composer
from pipeline.hydra.grid import GridSpec, combinations
from pipeline.hydra.groups import choices_with
from pipeline.hydra.launcher import SweepLauncher, claimed_folder, validated

_DEFERRED_NULL = "null,null"
"""A lone null in the form of a sweep."""


class ComposingSweeper(Sweeper):
    """What both sweepers have of Hydra: the config, the parser, the composer, and the launcher, ``ours`` or any other.

    (They do not inherit from Hydra's own sweeper: Hydra's scan for plug-ins executes that module again, which breaks
    classes derived from it before.)
    """

    # Hydra calls `setup`, which sets these, before anything else.
    hydra_context: HydraContext
    config: DictConfig
    parser: OverridesParser
    composer: Composer
    launcher: Launcher
    ours: SweepLauncher | None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep Hydra's arguments, and start the launcher."""
        self.hydra_context, self.config = hydra_context, config
        self.parser = OverridesParser.create(config_loader=hydra_context.config_loader)
        self.launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)
        self.ours = self.launcher if isinstance(self.launcher, SweepLauncher) else None
        self.composer = self.ours.composer if self.ours else Composer(hydra_context.config_loader, config)


class GridSweeper(ComposingSweeper):
    """All combinations of the values on the command line and of the ``params`` of a preset.

    ``default_grid`` is used if there is no preset and nothing is swept; a fixed value on the command line still
    replaces the values of its key in it.
    """

    def __init__(self, params: Any, default_grid: Any, zip: Any = None, points: int | None = None) -> None:  # noqa: A002  # a key's name
        self.own = {"params": params, "zip": zip, "points": points}
        self.default_grid = {"params": default_grid}

    def sweep(self, arguments: list[str]) -> Any:
        """Launch every point of the grid in one batch, and return the results in a list of one batch."""
        jobs = self._jobs(arguments)
        if self.ours is not None:
            self.ours.last = True
        else:
            # Our launcher composes all jobs before it starts any, with the keys that each has; others may not.
            composed = self.composer.compose_all(jobs, 0)
            validated(composed, alone=True)
            jobs = [list(job.overrides) for job in composed]
            self.validate_batch_is_legal(jobs)
        with claimed_folder(self.config, self.composer, self.ours):
            results = self.launcher.launch(jobs, initial_job_idx=0)
        for result in results:
            _ = result.return_value  # raises the error of a job that failed
        return [results]

    def _jobs(self, arguments: Sequence[str]) -> list[list[str]]:
        """Return the overrides of each job."""
        texts = [undo_deferral(text) for text in arguments]
        given, own = self.parser.parse_overrides(texts), GridSpec.of(self.own)
        swept = [override for override in given if override.is_sweep_override()]
        groups = {_name(override) for override in swept if self.composer.is_group(override.key_or_group)}
        if groups and (jobs := self._jobs_of_presets(texts, own, groups)):
            return jobs
        preset = self.config.hydra.runtime.choices.get("experiment")
        if not own.params and not swept and not preset:  # the grid would replace what the preset chooses
            own = dataclasses.replace(own, params=GridSpec.of(self.default_grid).params)
        overrides = [*self.parser.parse_overrides(own.texts()), *given]
        return combinations(overrides, zipped=own.zipped, points=own.points)

    def _jobs_of_presets(self, texts: list[str], own: GridSpec, groups: set[str]) -> list[list[str]]:
        """Return the overrides of each job where swept ``groups`` have choices with grids of their own, else none."""
        parse = self.parser.parse_overrides
        paired = [keys for keys in own.zipped if not groups.isdisjoint(keys)]
        chosen = groups.union(*paired)
        outer = [one for one in parse(own.texts()) if _name(one) in chosen]
        outer += [one for one in parse(texts) if _name(one) in chosen or not one.is_sweep_override()]
        choices = combinations(outer, zipped=paired, points=own.points)
        specs = [GridSpec.of(self.composer.compose(choice, 0).base.config.hydra.sweeper) for choice in choices]
        if all(spec == own for spec in specs):
            return []
        jobs: list[list[str]] = []
        for choice, spec in zip(choices, specs, strict=True):
            zipped = [keys for keys in spec.zipped if keys not in paired]
            jobs += combinations(parse([*spec.texts(), *texts, *choice]), zipped=zipped, points=spec.points)
        return jobs


def defer_conditional_keys(arguments: Sequence[str]) -> list[str]:
    """Wrap in ``choice()``, which takes no null, the values of the keys that only some choices of their group have.

    Hydra composes the config of the sweep with the default choice of each swept group, and refuses a key that this
    choice lacks. Swept keys are only composed in the jobs.

    >>> defer_conditional_keys(["optimizer=sgd,adam", "optimizer.beta1=0.8", "loss=svm", "loss.margin=2"])
    ['optimizer=sgd,adam', 'optimizer.beta1=choice(0.8)', 'loss=svm', 'loss.margin=2']
    >>> defer_conditional_keys(["strategy.initial_scale=null"])
    ['strategy.initial_scale=null,null']
    """
    chosen = {key for key, _, value in (text.partition("=") for text in arguments) if value in TABLES.get(key, ())}
    return [text if text.partition(".")[0] in chosen else _defer(text) for text in arguments]


def _defer(text: str) -> str:
    key, _, value = text.partition("=")
    override = _conditional_override(text)
    if override is None or override.is_sweep_override():
        return text
    return f"{key}=choice({value})" if override.value() is not None else f"{key}={_DEFERRED_NULL}"


def undo_deferral(text: str) -> str:
    """Return an argument as it was before `defer_conditional_keys`: Hydra drops the quotes in ``choice()``."""
    key, _, value = text.partition("=")
    if value == _DEFERRED_NULL:
        return f"{key}=null"
    override = _conditional_override(text) if value.startswith("choice(") else None
    alone = override is not None and len(list(override.sweep_string_iterator())) == 1
    return f"{key}={value.removeprefix('choice(').removesuffix(')')}" if alone else text


def _conditional_override(text: str) -> Override | None:
    """Return the override, if only some choices of its group have its key, else None."""
    if not choices_with(text.partition("=")[0]):
        return None
    try:
        return OverridesParser.create().parse_override(text)
    except OverrideParseException:
        return None  # Hydra will refuse it


def _name(override: Override) -> str:
    """Return the key as ``hydra.sweeper.zip`` names it: without the plus of one that is added."""
    return override.get_key_element().lstrip("+")
