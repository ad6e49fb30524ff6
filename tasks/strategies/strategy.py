"""The interface of a strategy: it advances the state of a fused group by some steps and returns its measures."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tasks.arrays.array import Array
from tasks.datasets.dataset import Dataset
from tasks.errors import require
from tasks.fused.problem import Problem
from tasks.fused.state import Measured, State

if TYPE_CHECKING:
    from tasks.memory import Sizes
    from tasks.trial import Trial


class Work(NamedTuple):
    """The work of a step of fused trials: how often its examples are read, and through how many models they pass.

    A pass is that of one trial, forward or backward.
    """

    readings: float
    passes: float


class Strategy(Protocol):
    """A strategy: a row of `STRATEGIES`. All trials of a group do a step together."""

    def unused(self) -> frozenset[str]:
        """Return the fields of a trial that have no influence on this strategy."""

    def fusion_key(self, trial: Trial) -> tuple[Hashable, ...]:
        """Return what trials of this strategy must have in common to be fused, in addition to their data and steps.

        The strategy of a group's first trial computes all: where trials may differ in a field, `Problem.trials` has it.
        """

    def check(self, trial: Trial, dataset: Dataset) -> None:
        """Raise a `ConfigError` where the strategy cannot run the trial."""

    def stretch(self, problem: Problem) -> int:
        """Return the largest number of steps of one call of `advance`; it changes no bit of the result."""

    def bytes_per_trial(self, trial: Trial, sizes: Sizes) -> int:
        """Return the bytes that a trial adds to its group."""

    def fixed_bytes(self, trial: Trial, sizes: Sizes) -> int:
        """Return the bytes that a group takes beside its trials' own, without the examples'; linear in its seeds."""

    def work(self, trials: Sequence[Trial], examples: int) -> Work:
        """Return the work of a step of these fused trials, on a training set of so many examples, for an estimate."""

    def init(self, problem: Problem) -> State:
        """Return the state before the first step."""

    def advance(self, problem: Problem, state: State, start: int, stop: int) -> tuple[State, Measured]:
        """Do steps ``start + 1`` to ``stop``; return the state after them and the measures of each.

        How the steps are split into calls changes no bit of the result. The measures are ``data_loss``,
        ``regularization_loss`` and ``accuracy`` on the examples of the step: of the weights before the update
        for gradient descent, of the best weights so far for a search, of those of the evaluation for L-BFGS.
        """


def initial_weights(problem: Problem, *, usual: float) -> Array:
    """Return the weights that a strategy starts from, each trial's ``initial_scale`` times its draw, ``(K, P)``.

    The scale None is the model's default, where ``usual`` is the strategy's own.
    """
    strategies: list[Any] = [trial.strategy for trial in problem.trials]  # rows of one class
    default = problem.model.initial_scale(usual)
    return problem.initial_weights([default if s.initial_scale is None else s.initial_scale for s in strategies])


def check_initial_scale(scale: float | None) -> None:
    """Raise a `ConfigError` for a scale of the initial weights below 0."""
    require(scale is None or scale >= 0, "strategy.initial_scale", "must be >= 0, or null", scale)
