"""Imports Optuna, an optional dependency, when a search is made, and checks its version."""

from __future__ import annotations

import importlib.metadata
import logging
import re
import warnings
from types import ModuleType

from tasks.errors import ConfigError

LOWEST, ABOVE = (4, 9), (6,)
"""The versions of Optuna that a search works with: at least the first, and below the second."""


_passed: set[str] = set()


def _once(record: logging.LogRecord) -> bool:
    """Pass a warning of Optuna once: samplers repeat what they cannot do for each trial, with its number."""
    if not record.name.startswith("optuna"):
        return True  # another program may have given Optuna's logger a handler that others use, too
    text = re.sub(r"Trial#\d+", "Trial", record.getMessage())
    new = text not in _passed
    _passed.add(text)
    return new


def load() -> ModuleType:
    """Return the package ``optuna``, which logs nothing but warnings, each once.

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
    for handler in logging.getLogger("optuna").handlers:
        handler.addFilter(_once)
    # Batches of proposals need arguments that Optuna 4 calls experimental.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna
