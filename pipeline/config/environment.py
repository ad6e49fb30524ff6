"""What MLflow's own variables say of the record, where neither the config nor the command line says anything."""

from __future__ import annotations

import os

from pipeline.address import redact
from pipeline.config.schema import Tracking

_VARIABLES = {"uri": "MLFLOW_TRACKING_URI", "experiment": "MLFLOW_EXPERIMENT_NAME"}
"""The variable that sets the default of each key of ``tracking``."""

DEFAULT_URI = f"default: {_VARIABLES['uri']}, else {Tracking().uri}"
"""What a command's help says of the store that it uses where it is given none."""


def default_uri() -> str:
    """Return the address of the store that a command uses where it is given none."""
    return os.environ.get(_VARIABLES["uri"], "").strip() or Tracking().uri


def tracking_defaults() -> dict[str, str]:
    """Return the keys of ``tracking`` that a variable sets, as Hydra's configs hold them.

    A password in one stays there, where it is safe: the config, which is shown and kept, only refers to it.
    """
    given = {key: os.environ.get(name, "").strip() for key, name in _VARIABLES.items()}
    return {
        key: value if redact(value) == value and "${" not in value else f"${{oc.env:{_VARIABLES[key]}}}"
        for key, value in given.items()
        if value
    }
