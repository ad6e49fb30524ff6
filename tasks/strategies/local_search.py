"""Random local search: try a random step, keep it if it lowers the loss."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.datasets.dataset import Dataset
from tasks.fused.problem import Problem
from tasks.fused.state import Measured, State, unknown_incumbent
from tasks.models.model import ScoreLinear
from tasks.score_space import local_search as score_space
from tasks.strategies.search import (
    advance_one_by_one,
    bytes_of_draws,
    bytes_of_search,
    in_score_space,
    stretch,
    work_of_search,
)
from tasks.strategies.strategy import Work, check_initial_scale, initial_weights

if TYPE_CHECKING:
    from tasks.memory import Sizes
    from tasks.trial import Trial

_INITIAL_SCALE = 1e-3
"""The notes' own: the default of a linear model on raw pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSearch:
    """A candidate is ``W + learning_rate * draw``; the first ``W`` is ``initial_scale`` times a draw of the model.

    A schedule scales the steps as in a descent: ``schedule=cosine`` anneals the search. A network's draw is 0 for every
    bias, so that its biases stay 0. ``initial_scale`` null is 1e-3, for a network 1. Source: the notes, "Strategy #2".
    """

    initial_scale: float | None = None

    def __post_init__(self) -> None:
        check_initial_scale(self.initial_scale)

    def unused(self) -> frozenset[str]:
        """Return the fields of a descent."""
        return frozenset({"optimizer", "clip"})

    def fusion_key(self, trial: Trial) -> tuple[Hashable, ...]:
        """Return the loss's coordinates where the search may be in score space: a group moves along those of one."""
        return (trial.loss.coordinates,) if isinstance(trial.model, ScoreLinear) else ()

    def check(self, trial: Trial, dataset: Dataset) -> None:
        """Accept any trial."""

    def stretch(self, problem: Problem) -> int:
        """Return how many steps to do at a time."""
        return stretch(problem)

    def bytes_per_trial(self, trial: Trial, sizes: Sizes) -> int:  # noqa: ARG002
        """Return the bytes of a search and, in score space, those of all examples' scores."""
        return bytes_of_search(sizes) + (5 * sizes.scores * sizes.train if sizes.in_score_space else 0)

    def fixed_bytes(self, trial: Trial, sizes: Sizes) -> int:  # noqa: ARG002
        """Return the bytes of a block of steps in score space: draws, and what they add to the scores of all examples.

        Each seed has whole panels of steps, however many seeds there are and however large the scores.
        """
        if not sizes.in_score_space:
            return bytes_of_draws(sizes)
        of_step = sizes.scores * sizes.train
        block = 8 * sizes.candidates * sizes.weights + 3 * min(sizes.candidates * of_step, sizes.score_bytes)
        return block + sizes.seeds * sizes.aligned * (4 * sizes.weights + 2 * of_step + sizes.scores * sizes.seen)

    def work(self, trials: Sequence[Trial], examples: int) -> Work:
        """Return the work of a search."""
        return work_of_search(trials, examples)

    def init(self, problem: Problem) -> State:
        """Return the initial weights, not yet evaluated."""
        state = unknown_incumbent(initial_weights(problem, usual=_INITIAL_SCALE))
        return score_space.init(problem, state) if in_score_space(problem) else state

    def advance(self, problem: Problem, state: State, start: int, stop: int) -> tuple[State, Measured]:
        """Do steps ``start + 1`` to ``stop``."""
        if in_score_space(problem):
            return score_space.advance(problem, state, start, stop)
        rates = problem.array(problem.learning_rates(range(start + 1, stop + 1))[..., None])
        return advance_one_by_one(
            problem, state, start, stop, lambda weights, unit, step: weights + rates[step - start - 1, ...] * unit
        )
