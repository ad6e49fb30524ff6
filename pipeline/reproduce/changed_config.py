"""Changes to a recorded config, as `--set KEY=VALUE` names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tasks.errors import ConfigError


def changed(config: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return ``config`` with changes of the form ``key=value``, values read as YAML.

    A change of a group chooses another of its rows, with that row's default parameters.

    Raises
    ------
    ConfigError
        If a change names no key of the config, or its value is not YAML.

    >>> changed({"steps": 10, "loss": {"name": "svm", "margin": 1.0}}, ["steps=20", "loss=softmax"])
    {'steps': 20, 'loss': {'name': 'softmax'}}
    """
    new = {name: dict(value) if isinstance(value, Mapping) else value for name, value in config.items()}
    for change in changes:
        name, equals, text = change.partition("=")
        section, _, inner = name.rpartition(".")
        holder = new.get(section) if section else new
        # The schema checks whether a row has such a parameter: the record may lack those at their defaults.
        if not equals or not isinstance(holder, dict) or (inner not in holder and "name" not in holder):
            raise ConfigError(f"--set must be KEY=VALUE with a key of the recorded config, got {change!r}")
        old = holder.get(inner)
        if isinstance(old, dict) and "name" not in old:
            raise ConfigError(f"--set must name a key of {name} ({name}.KEY=VALUE), got {change!r}")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {name} must have a value that YAML can read, got {text!r}") from None
        holder[inner] = {"name": value} if isinstance(old, dict) else value
    return new
