"""Cached composition: Hydra composes each combination of group choices once, values are set on copies of it."""

from __future__ import annotations

import copy
import functools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from omegaconf import DictConfig, OmegaConf, open_dict

from pipeline.address import redact
from pipeline.config.schema import parse
from pipeline.config.tables import TABLES
from pipeline.hydra.groups import choices_with, misplaced
from pipeline.plan.plan import Point
from tasks.errors import ConfigError

_RESOLVER = re.compile(r"\$\{([^{}:]*):")
"""An interpolation that calls a resolver."""

_SELF_CONTAINED = {"now", "python_version", "oc.decode", "oc.select", "oc.create", "oc.dict.keys", "oc.dict.values"}
"""Resolvers that depend on the config only; others may depend on the context that Hydra gives to a job."""

_STARTED = re.compile(r"\$\{now:[^{}]*\}")
"""The resolver of the time; all jobs of a sweep have the time of its start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A composed job: its number, its overrides, and its config.

    ``base`` is a composition by Hydra, shared between jobs; ``values`` are the job's own task config as plain
    values, not resolved; ``left_out`` are the overrides of keys that only other jobs' choices have.
    """

    number: int
    overrides: tuple[str, ...]
    base: Composition
    values: Mapping[str, Any]
    left_out: tuple[Override, ...] = ()

    def config(self) -> DictConfig:
        """Return the config as Hydra's own launchers compose it, with its ``hydra`` node."""
        config = copy.deepcopy(self.base.config)
        _share_time(self.base.config, config)
        OmegaConf.set_readonly(config.hydra, False)
        with open_dict(config):
            for name, value in self.values.items():
                config[name] = value
            config.hydra.overrides.task = list(self.overrides)
            config.hydra.job.id = str(self.number)
            config.hydra.job.num = self.number
            config.hydra.job.override_dirname = self.override_dirname()
        return config

    def uses_job_context(self) -> bool:
        """Return whether the job's values or environment may depend on the context that Hydra gives to a job."""
        environment = self.base.hydra["job"]["env_set"]
        known = _SELF_CONTAINED if environment else _SELF_CONTAINED | {"oc.env"}
        return "${" in repr(environment) or not known.issuperset(_RESOLVER.findall(repr(self.values)))

    def resolved(self) -> dict[str, Any]:
        """Return the task config as plain values, interpolations resolved."""
        text = repr(self.values)
        if "${" not in text and "???" not in text:
            return dict(self.values)
        config = OmegaConf.create(dict(self.values))
        _share_time(self.base.config, config)
        return plain_values(config)

    def point(self, values: Mapping[str, Any]) -> Point:
        """Return the job as a point of its sweep, with these resolved values."""
        return Point(index=self.number, overrides=tuple(map(redact, self.overrides)), config=parse(values))

    def folder(self) -> str:
        """Return the job's output folder, absolute; the process must not have changed its working folder."""
        if self.base.folder is not None and self.base.hydra["sweep"]["subdir"] == "${hydra.job.num}":
            place = [self.base.folder, str(self.number)]
        else:
            before, config = HydraConfig.instance().cfg, self.config()
            HydraConfig.instance().set_config(config)
            place = [str(config.hydra.sweep.dir), str(config.hydra.sweep.subdir)]
            HydraConfig.instance().cfg = before
        return os.path.abspath(os.path.join(*place))  # noqa: PTH100, PTH118  # as Hydra does

    def override_dirname(self) -> str:
        """Return Hydra's ``override_dirname``, for names of folders."""
        rule = self.base.hydra["job"]["config"]["override_dirname"]
        kept = [text for text in self.overrides if _key(text) not in rule["exclude_keys"]]
        return str(rule["item_sep"]).join(sorted(kept)).replace("=", rule["kv_sep"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """A config that Hydra composed, and the plain, unresolved values of its two parts.

    ``folder`` is the sweep's, None if it may differ between jobs.
    """

    config: DictConfig
    folder: str | None
    hydra: Mapping[str, Any]
    task: Mapping[str, Any]


class Composer:
    """Composes the jobs of a sweep.

    Hydra composes each combination of group choices once. A plain override (``key=value`` of an existing key) is set on
    a copy of its values. Any other override (``+key``, ``~key``, a mapping that is merged, ``hydra.*``) makes Hydra
    compose that job by itself, so that Hydra's own rules and messages apply.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self._loader = loader
        self._master = master
        self._parse = functools.cache(OverridesParser.create(config_loader=loader).parse_override)
        self._groups: dict[str, bool] = {}
        self._compositions: dict[tuple[str, ...], Composition] = {}

    def compose(self, overrides: Sequence[str], number: int) -> Job:
        """Return the job with these overrides."""
        parsed = {text: self._parse(text) for text in overrides}
        choices = tuple(text for text, override in parsed.items() if self._is_choice(override))
        missing = tuple(text for text, override in parsed.items() if self._is_missing(override, choices))
        kept = tuple(text for text in overrides if text not in missing)
        left_out = tuple(parsed[text] for text in missing)
        plain = [parsed[text] for text in kept if text not in choices]
        if all(map(_is_plain, plain)):
            base = self._compose(choices)
            values = dict(base.task)  # what is not set is shared by all jobs
            if all(_set(values, override.key_or_group.split("."), override.value()) for override in plain):
                return Job(number=number, overrides=kept, base=base, values=values, left_out=left_out)
        base = self._compose(kept)
        return Job(number=number, overrides=kept, base=base, values=base.task, left_out=left_out)

    def compose_all(self, batch: Sequence[Sequence[str]], first: int) -> list[Job]:
        """Return the jobs with these overrides, numbered from ``first``.

        Raises
        ------
        ConfigError
            If no job's choices have the key of an override.
        """
        jobs = [self.compose(overrides, first + place) for place, overrides in enumerate(batch)]
        given = {override.key_or_group for job in jobs for override in job.left_out}
        used = {key for job in jobs for key in map(_key, job.overrides) if key in given}
        for key in sorted(given - used):
            raise ConfigError(misplaced(key))
        return jobs

    def is_group(self, name: str) -> bool:
        """Return whether a name is a config group."""
        if name not in self._groups:
            # A group may hold nothing but groups (experiment=notes/minibatch).
            self._groups[name] = bool(self._loader.get_group_options(name) or self._loader.list_groups(name))
        return self._groups[name]

    def clear(self) -> None:
        """Clear the cache: the config of the sweep has changed."""
        self._compositions.clear()

    def _compose(self, overrides: tuple[str, ...]) -> Composition:
        if overrides not in self._compositions:
            config = self._loader.load_sweep_config(self._master, list(overrides))
            _share_time(self._master, config)
            values = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
            assert isinstance(values, dict)
            task = {str(name): value for name, value in values.items() if name != "hydra"}
            alike = "${" not in _STARTED.sub("", values["hydra"]["sweep"]["dir"])
            folder = str(config.hydra.sweep.dir) if alike else None
            self._compositions[overrides] = Composition(config=config, folder=folder, hydra=values["hydra"], task=task)
        return self._compositions[overrides]

    def _is_choice(self, override: Override) -> bool:
        is_change = override.type == OverrideType.CHANGE and not override.is_hydra_override()
        return is_change and self.is_group(override.key_or_group) and isinstance(override.value(), str)

    def _is_missing(self, override: Override, choices: tuple[str, ...]) -> bool:
        """Return whether an override sets a key that the job's choice in its group lacks, but another choice has."""
        names = choices_with(override.key_or_group)
        if override.type != OverrideType.CHANGE or not names:
            return False
        group = override.key_or_group.partition(".")[0]
        row = self._compose(choices).task.get(group)
        return isinstance(row, Mapping) and row.get("name") in TABLES[group] and row["name"] not in names


def plain_values(config: DictConfig) -> dict[str, Any]:
    """Return a config as plain values, interpolations resolved; a missing value raises."""
    values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items()}


def _share_time(source: DictConfig, target: DictConfig) -> None:
    """Have ``now`` return in both configs what it has returned in one; other resolvers' results are copied."""
    OmegaConf.copy_cache(from_config=source, to_config=target)
    OmegaConf.get_cache(target)["now"] = OmegaConf.get_cache(source)["now"]


def _is_plain(override: Override) -> bool:
    return (
        override.type == OverrideType.CHANGE
        and override.value_type == ValueType.ELEMENT
        and override.package is None
        and not override.is_hydra_override()
    )


def _set(values: dict[str, Any], path: Sequence[str], value: object) -> bool:
    """Set the value of an existing key, in copies of the mappings that lead to it; return whether that is possible.

    A list replaces a list; whatever else is put in the place of a list or a mapping is for Hydra to judge.
    """
    for name in path[:-1]:
        if not isinstance(values.get(name), dict):
            return False
        values[name] = dict(values[name])
        values = values[name]
    before = values.get(path[-1])
    if path[-1] not in values or isinstance(before, dict) or (isinstance(before, list) and not isinstance(value, list)):
        return False
    values[path[-1]] = value
    return True


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")
