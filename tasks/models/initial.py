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


def spread_but_bias(initial: str, *, fan_in: int, fan_out: int) -> np.ndarray:
    """Return the standard deviation of each column of a layer's matrix, ``(1, fan_in + 1)``, 0 for the last, the bias.

    >>> spread_but_bias("he", fan_in=2, fan_out=10), spread_but_bias("0.01", fan_in=1, fan_out=10)
    (array([[1., 1., 0.]]), array([[0.01, 0.  ]]))
    """
    rule = RULES.get(initial)
    spreads = np.full((1, fan_in + 1), float(initial) if rule is None else rule(fan_in, fan_out))
    spreads[0, -1] = 0
    return spreads
