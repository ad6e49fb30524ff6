"""Random search: draw weights, keep the best."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.arrays.stacking import per_trial
from tasks.datasets.dataset import Dataset
from tasks.errors import require
from tasks.fused.problem import Problem
from tasks.fused.state import Measured, State, unknown_incumbent
from tasks.score_space import random_search as score_space
from tasks.strategies.search import (
    advance_one_by_one,
    bytes_of_draws,
    bytes_of_search,
    in_score_space,
    stretch,
    work_of_search,
)
from tasks.strategies.strategy import Work

if TYPE_CHECKING:
    from tasks.memory import Sizes
    from tasks.trial import Trial

_SCALE = 1e-4
"""The notes' own: the default of a linear model on raw pixels."""

# How many of 216 candidates are the best so far, on average: 1 + 1/2 + ... + 1/216, rounded up.
_IMPROVEMENTS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSearch:
    """Every candidate is ``scale`` times the model's draw (of a network, with biases of 0).

    ``scale`` null is 1e-4, for a network 1. Source: the notes, "Strategy #1".
    """

    scale: float | None = None

    def __post_init__(self) -> None:
        require(self.scale is None or self.scale > 0, "strategy.scale", "must be > 0, or null", self.scale)

    def unused(self) -> frozenset[str]:
        """Return the fields of a descent."""
        return frozenset({"learning_rate", "optimizer", "schedule", "clip"})

    def fusion_key(self, trial: Trial) -> tuple[Hashable, ...]:
        """Return an empty key: there is no further condition."""
        del trial
        return ()

    def check(self, trial: Trial, dataset: Dataset) -> None:
        """Accept any trial."""

    def stretch(self, problem: Problem) -> int:
        """Return how many steps to do at a time."""
        return stretch(problem)

    def bytes_per_trial(self, trial: Trial, sizes: Sizes) -> int:  # noqa: ARG002
        """Return the bytes of a search and, in score space, those of whole panels of candidates or of improvements."""
        if not sizes.in_score_space:
            return bytes_of_search(sizes)
        return bytes_of_search(sizes) + max(3 * sizes.aligned, 2 * _IMPROVEMENTS) * sizes.weights

    def fixed_bytes(self, trial: Trial, sizes: Sizes) -> int:  # noqa: ARG002
        """Return the bytes of a block of candidates in score space: draws, candidates and scores.

        Each seed has whole panels of draws, however many seeds there are.
        """
        if not sizes.in_score_space:
            return bytes_of_draws(sizes)
        block = sizes.candidates * (8 * sizes.weights + 5 * sizes.scores * sizes.seen)
        return block + sizes.seeds * sizes.aligned * (3 * sizes.weights + sizes.scores * sizes.seen)

    def work(self, trials: Sequence[Trial], examples: int) -> Work:
        """Return the work of a search."""
        return work_of_search(trials, examples)

    def init(self, problem: Problem) -> State:
        """Return a state without an incumbent."""
        return unknown_incumbent(problem.initial_weights([0.0] * len(problem.trials)))

    def advance(self, problem: Problem, state: State, start: int, stop: int) -> tuple[State, Measured]:
        """Do steps ``start + 1`` to ``stop``."""
        scales = [_scale(trial) for trial in problem.trials]
        if in_score_space(problem):
            return score_space.advance(problem, state, start, stop, scales=scales)
        each = per_trial(scales, like=problem.like, trailing=1)
        return advance_one_by_one(problem, state, start, stop, lambda _weights, unit, _step: each * unit)


def _scale(trial: Trial) -> float:
    assert isinstance(trial.strategy, RandomSearch)
    scale = trial.strategy.scale
    return trial.model.initial_scale(_SCALE) if scale is None else scale
