"""Environment variables: the defaults of the record from MLflow's own, and values that are set for a while."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from pipeline.address import redact
from pipeline.config.schema import Tracking

_VARIABLES = {"uri": "MLFLOW_TRACKING_URI", "experiment": "MLFLOW_EXPERIMENT_NAME"}
"""The variable that sets the default of each key of ``tracking``."""

DEFAULT_URI = f"default: {_VARIABLES['uri']}, else {Tracking().uri}"
"""The text of a command's help for its default store."""


def default_uri() -> str:
    """Return the address of a command's default store."""
    return os.environ.get(_VARIABLES["uri"], "").strip() or Tracking().uri


def tracking_defaults() -> dict[str, str]:
    """Return the keys of ``tracking`` that a variable sets, for Hydra's configs.

    A variable that holds a password is only referred to, since the config is printed and stored. An experiment of
    which only the id is given has an empty name, which the schema refuses: its name is known to the store alone.
    """
    given = {key: os.environ.get(name, "").strip() for key, name in _VARIABLES.items()}
    nameless = os.environ.get("MLFLOW_EXPERIMENT_ID") and not given["experiment"]
    return ({"experiment": ""} if nameless else {}) | {
        key: value if redact(value) == value and "${" not in value else f"${{oc.env:{_VARIABLES[key]}}}"
        for key, value in given.items()
        if value
    }


@contextlib.contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ[name] for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)
        os.environ.update(before)
