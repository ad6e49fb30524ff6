"""Random local search: try a random step, keep it if it lowers the loss; a block of steps is one product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from tasks.errors import require
from tasks.losses import accuracy
from tasks.problem import Batch, Problem, host, in_order, total
from tasks.stacking import per_trial
from tasks.strategies.search import (
    CANDIDATES,
    Perturbations,
    advance_on_minibatches,
    blocks_of_steps,
    perturbations,
    unknown_incumbent,
)
from tasks.strategies.strategy import MEASURES, Measured, State

# A block of perturbations keeps its scores on all examples: at most this many bytes of them.
_BLOCK_BYTES = 96 * 2**20


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
        seeds = len({trial.seed for trial in problem.trials})
        bytes_a_candidate = seeds * len(batch) * problem.shape[0] * np.dtype(np.float32).itemsize
        largest = min(CANDIDATES // seeds, _BLOCK_BYTES // bytes_a_candidate)
        now = dict(state)
        history: dict[str, list[np.ndarray]] = {name: [] for name in MEASURES}
        for numbers in blocks_of_steps(problem, start, stop, largest=largest):
            unit = perturbations(problem, numbers)
            unit_scores = _scores_of_block(problem, batch, unit.draws)
            for m in unit.members():
                _walk(problem, now, rates, unit, unit_scores, m)
                for name, values in history.items():
                    values.append(now[name])
        return now, {name: np.stack(values) for name, values in history.items()}


def _scores_of_block(problem: Problem, batch: Batch, unit: Any) -> list[Any]:
    """Return the scores of unit perturbations on all examples, ``(J, M, C, n)`` for every block of n examples."""
    return problem.over_blocks(batch, lambda features, _: problem.objective.model.scores_of_blocks(unit, features))


def _walk(problem: Problem, now: dict[str, Any], rates: Any, unit: Perturbations, unit_scores: Any, m: int) -> None:
    """Try one step of every trial: scores of the candidates by addition alone, accepted where the loss falls."""
    xp = array_namespace(rates)
    labels = problem.dataset.train.labels
    candidates = now["weights"] + rates * unit.draws[:, m][unit.place]
    scores = xp.empty_like(now["scores"])
    starts = np.cumsum([0] + [block.shape[-1] for block in unit_scores])

    def loss_sums(number: int) -> np.ndarray:
        part = slice(starts[number], starts[number + 1])
        step = rates * unit_scores[number][:, m][unit.place]
        scores[..., part] = now["scores"][..., part] + step
        return host(xp.sum(problem.objective.losses_of_scores(scores[..., part], labels[part]), axis=-1))

    data_loss = total(in_order(loss_sums, range(len(unit_scores)), threads=problem.threads)) / len(labels)
    penalty = host(problem.objective.regularization_loss(candidates))
    better = data_loss + penalty < now["data_loss"] + now["regularization_loss"]
    if not better.any():
        return
    accept = xp.asarray(better)[:, None, None]
    hits = host(accuracy(scores, labels))
    now |= {
        "weights": xp.where(accept, candidates, now["weights"]),
        "scores": xp.where(accept, scores, now["scores"]),
        "data_loss": np.where(better, data_loss, now["data_loss"]),
        "regularization_loss": np.where(better, penalty, now["regularization_loss"]),
        "accuracy": np.where(better, hits, now["accuracy"]),
    }


def _scale(strategy: Any) -> float:
    assert isinstance(strategy, LocalSearch)
    return strategy.initial_scale
