"""The standard deviation of a network's initial weights: a number, or a rule of the layer's width (He, Xavier)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from tasks.errors import require, unknown_choice

# The standard deviation of a unit's weights, from its numbers of inputs and outputs.
RULES: Mapping[str, Callable[[int, int], float]] = {
    "he": lambda fan_in, fan_out: math.sqrt(2 / fan_in),  # noqa: ARG005  # He et al. 2015: for relu
    "xavier": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),  # Glorot and Bengio 2010: for tanh
}


def check_initial(initial: str) -> None:
    """Raise a `ConfigError` unless ``initial`` is a rule or a number of at least 0."""
    if initial in RULES:
        return
    try:
        number = float(initial)
    except ValueError:
        raise unknown_choice("model.initial", initial, [*RULES, "a number"]) from None
    require(0 <= number < math.inf, "model.initial", "must be a finite number >= 0", initial)


def spread(initial: str, *, fan_in: int, fan_out: int) -> float:
    """Return the standard deviation of the weights of a layer.

    >>> spread("he", fan_in=50, fan_out=10), spread("0.01", fan_in=50, fan_out=10)
    (0.2, 0.01)
    """
    rule = RULES.get(initial)
    return float(initial) if rule is None else rule(fan_in, fan_out)


def spread_but_bias(initial: str, *, fan_in: int, fan_out: int, columns: int) -> np.ndarray:
    """Return the standard deviation of every column of a matrix, ``(1, columns)``, 0 for the last, the bias."""
    spreads = np.full((1, columns), spread(initial, fan_in=fan_in, fan_out=fan_out))
    spreads[0, -1] = 0
    return spreads
