"""What a strategy is: it advances the state of a fused group by some steps and says what it measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from tasks.problem import Problem

# Named arrays, the trial axis first in each; "weights" (K, C, D) is the answer so far.
State = Mapping[str, Any]

# What every strategy measures at every step.
MEASURES = ("data_loss", "regularization_loss", "accuracy")

# Named float64 arrays (steps, K): what was measured at every step.
Measured = Mapping[str, np.ndarray]


class Strategy(Protocol):
    """A strategy: a row of `STRATEGIES`. The steps of all trials of a group go together."""

    def unused(self) -> frozenset[str]:
        """Return the fields of a trial that have no influence on this strategy."""

    def init(self, problem: Problem) -> State:
        """Return the state before the first step."""

    def advance(self, problem: Problem, state: State, start: int, stop: int) -> tuple[State, Measured]:
        """Do steps ``start + 1`` to ``stop`` and return the state after them and what they measured.

        How the steps are cut into calls changes no bit of the result. Measured are ``data_loss``,
        ``regularization_loss`` and ``accuracy`` on the examples of the step: of the weights before the update
        for gradient descent, of the best weights so far for a search.
        """
