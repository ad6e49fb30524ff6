"""Imports Optuna, an optional dependency, when a search is made, and checks its version."""

from __future__ import annotations

import importlib.metadata
import warnings
from types import ModuleType

from tasks.errors import ConfigError

LOWEST, ABOVE = (4, 9), (6,)
"""The versions of Optuna that a search works with: at least the first, and below the second."""


def load() -> ModuleType:
    """Return the package ``optuna``, with its log level set to warnings.

    Raises
    ------
    ConfigError
        If it is not installed, or its version is not known to work.
    """
    try:
        import optuna  # noqa: PLC0415  # most sweeps need none
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"hydra/sweeper=search needs Optuna, and there is no module {error.name}: "
            "pip install 'descent-sweeps[search]'"
        ) from error
    version = importlib.metadata.version("optuna")
    known = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if not LOWEST <= known < ABOVE:
        raise ConfigError(f"hydra/sweeper=search needs Optuna from 4.9 on and before 6, got {version}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Batches of proposals need arguments that Optuna 4 calls experimental.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna
