"""The state of a strategy between steps, and what it measures at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.devices import host

# Named arrays, the trial axis first in each; "weights" (K, P) are the current or best weights.
State = Mapping[str, Any]

# What every strategy measures at every step.
MEASURES = ("data_loss", "regularization_loss", "accuracy")

# Named float64 arrays (steps, K): what was measured at every step.
Measured = Mapping[str, np.ndarray]


class History:
    """The `MEASURES` of a search's incumbents after every step."""

    def __init__(self) -> None:
        self._values: dict[str, list[Array]] = {name: [] for name in MEASURES}

    def append(self, state: State) -> None:
        """Add the state after a step."""
        for name, values in self._values.items():
            values.append(state[name])

    def measured(self) -> Measured:
        """Return the history of all steps, with one copy from a device for each measure."""
        return {name: host(array_namespace(*values).stack(values)) for name, values in self._values.items()}


def unknown_incumbent(weights: Array) -> State:
    """Return the state of a search before its first evaluation: any finite loss is better."""
    xp, count = array_namespace(weights), weights.shape[0]
    values = {"data_loss": xp.inf, "regularization_loss": 0.0, "accuracy": xp.nan}
    there = {"dtype": xp.float64, "device": weights.device}
    return {"weights": weights} | {name: xp.full(count, value, **there) for name, value in values.items()}
