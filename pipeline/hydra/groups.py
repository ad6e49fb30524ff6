"""The config groups for Hydra: the schema's defaults in its ConfigStore, the list of all keys, and the help page."""

from __future__ import annotations

import dataclasses
import functools
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from pipeline import HOME
from pipeline.config.environment import tracking_defaults
from pipeline.config.packages import CONF_FOLDER, packages
from pipeline.config.schema import defaults, plain
from pipeline.config.settings import flat
from pipeline.config.tables import TABLES, added
from pipeline.search.samplers import sampler_configs


def row_defaults(group: str, name: str) -> dict[str, Any]:
    """Return a row's config with its default values, ``???`` for a value that must be given.

    >>> row_defaults("loss", "svm")
    {'name': 'svm', 'margin': 1.0}
    """
    values: dict[str, Any] = {"name": name}
    for f in dataclasses.fields(TABLES[group][name]):
        if f.default_factory is not dataclasses.MISSING:
            values[f.name] = f.default_factory()
        else:
            values[f.name] = "???" if f.default is dataclasses.MISSING else f.default
    return plain(values)


def keys() -> list[str]:
    """Return every key that a config can have, dotted, for all rows of all tables."""
    found = {key for key, _ in flat(defaults())}
    for group, table in TABLES.items():
        found |= {group, *(f"{group}.{key}" for name in table for key in row_defaults(group, name) if key != "name")}
    return sorted(key for key in found if not key.endswith(".name") or key == "sweep.name")


@functools.cache
def choices_with(key: str) -> tuple[str, ...]:
    """Return the choices of a key's group that have the key; empty if all have it.

    >>> choices_with("optimizer.momentum"), choices_with("seed")
    (('momentum', 'nesterov'), ())
    """
    group, _, inner = key.partition(".")
    field = inner.partition(".")[0]
    table: Mapping[str, type] = TABLES.get(group, {})
    names = tuple(name for name, row in table.items() if field in {f.name for f in dataclasses.fields(row)})
    return () if len(names) == len(table) else names


def misplaced(key: str) -> str:
    """Return the message for a key that only other choices of its group have.

    >>> misplaced("optimizer.momentum")
    'optimizer.momentum must be set with optimizer=momentum or optimizer=nesterov only: other choices have no such key'
    """
    group = key.partition(".")[0]
    names = " or ".join(f"{group}={name}" for name in choices_with(key))
    return f"{key} must be set with {names} only: other choices have no such key"


def register() -> None:
    """Store the schema's nodes and the help page, which the files under ``conf/`` refer to.

    The nodes hold plain values, not types: a misspelt key fails when Hydra composes, a wrong value fails in
    `pipeline.config.schema.parse`, which knows the rules as well as the types.
    """
    store = ConfigStore.instance()
    plain_keys = {name: value for name, value in defaults().items() if name not in TABLES}
    plain_keys["tracking"] |= tracking_defaults()
    store.store(group="schema", name="config", node=plain_keys)
    for group, table in TABLES.items():
        for name in table:
            store.store(group=f"schema/{group}", name=name, node=_node(group, name))
            if name not in table.own and not _has_file(group, name):
                node, provider = _choice(group, name), str(table.package(name))
                store.store(group=group, name=name, node=node, package="_global_", provider=provider)
    store.store(group="hydra/help", name="sweeps", node={"app_name": "pipeline", "template": _help()})
    # Hydra's own defaults are changed: a preset could not override what conf/config.yaml overrides.
    own = {"launcher": "sweep", "sweeper": "sweep", "help": "sweeps"}
    config = HydraConf()
    config.defaults = [{name: own.get(name, choice) for name, choice in one.items()} for one in config.defaults]
    store.store(group="hydra", name="config", node=config, provider="hydra")
    # Hydra copies its config sources, and with them the process's one store, for each look-up of a group, although it
    # only reads it: 180 copies for --help took four seconds.
    setattr(store, "__deepcopy__", lambda _: store)  # noqa: B010  # Hydra's class has none


def register_samplers() -> None:
    """Store the configs of a search's samplers, unless Hydra's own plug-in for Optuna has: those have more keys."""
    store = ConfigStore.instance()
    try:
        known = store.list("hydra/sweeper/sampler")
    except OSError:
        known = []
    for name, node in sampler_configs().items():
        if f"{name}.yaml" not in known:
            store.store(group="hydra/sweeper/sampler", name=name, node=node)


def _has_file(group: str, name: str) -> bool:
    """Return whether a package brings a file for a choice: Hydra would merge a node of that name into it."""
    return any((folder / group / f"{name}.yaml").is_file() for package in packages() for folder in package.conf)


def _choice(group: str, name: str) -> dict[str, Any]:
    """Return the config of a choice that has no file; a task that needs no data chooses ``dataset=none``."""
    alone = group == "task" and not getattr(TABLES[group][name], "needs_data", True)
    chosen: dict[str, Any] = {"defaults": ["_self_", {"override /dataset": "none"}]} if alone else {}
    return {**chosen, group: _node(group, name)}


def _node(group: str, name: str) -> dict[str, Any]:
    """Return a row's defaults for Hydra: its mappings take any key, where Hydra would refuse those that are new."""
    values = row_defaults(group, name)
    return {
        key: OmegaConf.create(value, flags={"struct": False}) if isinstance(value, dict) else value
        for key, value in values.items()
    }


def presets() -> list[str]:
    """Return the choices of ``experiment``: the files of our own ``conf/`` folder and of the packages'."""
    conf = [HOME / CONF_FOLDER, *(folder for package in packages() for folder in package.conf)]
    folders = [folder / "experiment" for folder in conf]
    return sorted(
        {str(file.relative_to(folder).with_suffix("")) for folder in folders for file in folder.rglob("*.yaml")}
    )


def _help() -> str:
    clusters = [file.stem for file in (HOME / CONF_FOLDER / "cluster").glob("*.yaml")]  # a group without a table
    groups: Mapping[str, Iterable[str]] = {**TABLES, "cluster": clusters}
    choices = "\n".join(f"  {group:12} {', '.join(sorted(names))}" for group, names in groups.items())
    for package, rows in added().items():
        names_by_group = "; ".join(f"{group} {', '.join(names)}" for group, names in rows.items())
        choices += f"\n\nOf {package}: {names_by_group}"
    every = textwrap.fill(", ".join(presets()), 100, initial_indent="  ", subsequent_indent="  ")
    return f"""Sweeps over how a model is optimised: Hydra composes the trials, Ray runs them, MLflow keeps the record.

  descent-sweeps KEY=VALUE ...               one trial, in this process
  descent-sweeps --multirun KEY=A,B ...      a trial for every combination; without a list, the default grid
  descent-sweeps --multirun KEY=A,B KEY=C,D 'hydra.sweeper.zip=[KEY,KEY]'            keys that vary together
  descent-sweeps --multirun 'KEY=tag(log,interval(1e-6,1e-3))' hydra.sweeper.points=7   a logarithmic grid
  descent-sweeps --multirun hydra/sweeper=search 'KEY=interval(0,1)' hydra.sweeper.n_trials=64   a search by Optuna
  descent-sweeps --multirun sweep.dry_run=true ...   only the plan
  descent-sweeps --multirun experiment=notes/strategies   a preset

Groups (GROUP=CHOICE, --cfg job shows what is chosen):
{choices}

Presets (experiment=CHOICE, with --multirun the grids that are theirs):
{every}

Keys and their defaults (--help GROUP=CHOICE has those of another choice):

$CONFIG
"""
