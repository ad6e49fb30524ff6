"""The project's errors: one root, and every message names the parameter, the rule and the value."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable


class SweepError(Exception):
    """Root of every error this project raises on purpose."""


class ConfigError(SweepError):
    """A parameter breaks its rule."""


class DataError(SweepError):
    """A dataset is missing, damaged or not what it says it is."""


def require(condition: object, parameter: str, rule: str, value: object) -> None:
    """Raise a `ConfigError` unless ``condition`` holds.

    >>> require(False, "learning_rate", "must be > 0", -1)
    Traceback (most recent call last):
    tasks.errors.ConfigError: learning_rate must be > 0, got -1
    """
    if not condition:
        raise ConfigError(f"{parameter} {rule}, got {value!r}")


def require_choice(parameter: str, value: object, choices: Collection[str]) -> None:
    """Raise a `ConfigError` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise unknown_choice(parameter, value, choices)


def unknown_choice(parameter: str, value: object, choices: Iterable[str], *, elsewhere: str = "") -> ConfigError:
    """Return the error for a name that is not a choice, with the choices and the closest, or where it is one.

    >>> print(unknown_choice("loss", "sfm", ["softmax", "svm"]))
    loss must be one of softmax, svm, got 'sfm' (did you mean 'svm'?)
    """
    names = sorted(choices)
    close = difflib.get_close_matches(str(value), names, n=1)
    meant = elsewhere or (repr(close[0]) if close else "")
    hint = f" (did you mean {meant}?)" if meant else ""
    return ConfigError(f"{parameter} must be one of {', '.join(names)}, got {value!r}{hint}")
