"""Random local search: try a random step, keep it if it lowers the loss; a block of steps is one product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.devices import at_once, double
from tasks.errors import require
from tasks.losses import accuracy
from tasks.problem import Batch, Problem, total
from tasks.stacking import per_trial
from tasks.strategies.search import (
    History,
    Perturbations,
    advance_on_minibatches,
    blocks_of_steps,
    drawn_ahead,
    unknown_incumbent,
)
from tasks.strategies.strategy import Measured, State


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSearch:
    """From ``initial_scale * N(0, 1)``, candidates ``W + learning_rate * N(0, 1)``. Source: notes, "Strategy #2"."""

    initial_scale: float = 1e-3

    def __post_init__(self) -> None:
        require(self.initial_scale >= 0, "strategy.initial_scale", "must be >= 0", self.initial_scale)

    def unused(self) -> frozenset[str]:
        """Return what only a descent has."""
        return frozenset({"optimizer", "schedule"})

    def init(self, problem: Problem) -> State:
        """Return the initial weights, not evaluated yet, and their scores where every step sees all examples."""
        weights = problem.initial_weights([_scale(trial.strategy) for trial in problem.trials])
        state = unknown_incumbent(problem, weights)
        if len(batch := problem.minibatches.at(0)) < len(problem.dataset.train):
            return state
        parts = problem.over_blocks(batch, lambda features, _: problem.objective.scores(weights, features))
        return dict(state) | {"scores": array_namespace(weights).concat(parts, axis=-1)}

    def advance(self, problem: Problem, state: State, start: int, stop: int) -> tuple[State, Measured]:
        """Do steps ``start + 1`` to ``stop``."""
        rates = per_trial([trial.learning_rate for trial in problem.trials], like=problem.like, trailing=2)
        batch = problem.minibatches.at(0)
        if len(batch) < len(problem.dataset.train):
            return advance_on_minibatches(problem, state, start, stop, lambda weights, unit: weights + rates * unit)
        seeds = len(problem.seeds)
        bytes_a_candidate = seeds * len(batch) * problem.shape[0] * np.dtype(np.float32).itemsize
        # A block of perturbations keeps its scores on all examples.
        most = at_once(problem.like)
        largest = min(most.candidates // seeds, most.score_bytes // bytes_a_candidate)
        now, history = dict(state), History()
        for _, unit in drawn_ahead(problem, blocks_of_steps(problem, start, stop, largest=largest)):
            unit_scores = _scores_of_block(problem, batch, unit.draws)
            for m in unit.members():
                _walk(problem, now, rates, unit, unit_scores, m)
                history.append(now)
        return now, history.measured()


def _scores_of_block(problem: Problem, batch: Batch, unit: Any) -> list[Any]:
    """Return the scores of unit perturbations on all examples, ``(J, M, C, n)`` for every block of n examples.

    A device, which walks through all examples in the time that it starts on some, gets them in one.
    """
    of_blocks = problem.over_blocks(batch, lambda features, _: problem.objective.model.scores_of_blocks(unit, features))
    return of_blocks if is_numpy_array(unit) else [array_namespace(unit).concat(of_blocks, axis=-1)]


def _walk(problem: Problem, now: dict[str, Any], rates: Any, unit: Perturbations, unit_scores: Any, m: int) -> None:
    """Try one step of every trial: scores of the candidates by addition alone, accepted where the loss falls."""
    xp = array_namespace(rates)
    labels = problem.dataset.train.labels
    candidates = now["weights"] + rates * unit.of_trials(unit.draws[:, m, ...])
    scores = xp.empty_like(now["scores"])
    starts = np.cumsum([0] + [block.shape[-1] for block in unit_scores]).tolist()

    def loss_sums(number: int) -> Any:
        part = slice(starts[number], starts[number + 1])
        step = rates * unit.of_trials(unit_scores[number][:, m, ...])
        scores[..., part] = now["scores"][..., part] + step
        return double(xp.sum(problem.objective.losses_of_scores(scores[..., part], labels[part]), axis=-1))

    data_loss = total(problem.in_order(loss_sums, range(len(unit_scores)))) / labels.shape[0]
    penalty = double(problem.objective.regularization_loss(candidates))
    better = data_loss + penalty < now["data_loss"] + now["regularization_loss"]
    if is_numpy_array(better) and not better.any():
        return  # on a device, the question would cost more than the answer saves
    accept, hits = better[:, None, None], accuracy(scores, labels)
    now |= {
        "weights": xp.where(accept, candidates, now["weights"]),
        "scores": xp.where(accept, scores, now["scores"]),
        "data_loss": xp.where(better, data_loss, now["data_loss"]),
        "regularization_loss": xp.where(better, penalty, now["regularization_loss"]),
        "accuracy": xp.where(better, hits, now["accuracy"]),
    }


def _scale(strategy: Any) -> float:
    assert isinstance(strategy, LocalSearch)
    return strategy.initial_scale
