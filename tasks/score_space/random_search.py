"""Random search in score space: one product gives the scores of many candidates of all trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array
from tasks.arrays.devices import block_sizes, device_put, double, host, pieces, take_rows
from tasks.arrays.stacking import per_trial
from tasks.fused.batches import Batch
from tasks.fused.objective import Objective
from tasks.fused.parallel import total
from tasks.fused.problem import Problem
from tasks.fused.state import Measured, State
from tasks.models.model import ScoreLinear
from tasks.score_space.blocks import drawn_blocks
from tasks.weight_space.perturbations import Perturbations


def advance(
    problem: Problem, state: State, start: int, stop: int, *, scales: Sequence[float]
) -> tuple[State, Measured]:
    """Do steps ``start + 1`` to ``stop``: candidates are each trial's scale times a draw."""
    scale = per_trial(scales, like=problem.like, trailing=2)
    improvements: list[_Improvements] = []
    pending: list[_Candidates] = []
    largest = max(1, block_sizes(problem.like).candidates // len(problem.trials))
    for numbers, unit in drawn_blocks(problem, start, stop, largest=largest):
        pending.append(_try_block(problem, scale, numbers, unit))
        # Reading the losses waits for a device, so that it is given several blocks first.
        enough = 1 if is_numpy_array(problem.like) else 2 * largest
        if numbers.stop == stop or sum(block.candidates.shape[1] for block in pending) >= enough:
            state, improved = _best_so_far(problem, state, _Candidates.joined(pending))
            improvements.append(improved)
            pending = []
    return _with_accuracy(problem, state, improvements)


class _Candidates(NamedTuple):
    """Candidates ``(K, M, P)`` of every trial, and their losses on all examples ``(K, M)``, on the device."""

    candidates: Array
    data_loss: Array
    penalty: Array

    @classmethod
    def joined(cls, blocks: Sequence[_Candidates]) -> _Candidates:
        """Return the candidates of consecutive blocks as one block."""
        if len(blocks) == 1:
            return blocks[0]
        xp = array_namespace(blocks[0].candidates)
        return cls(*(xp.concat(column, axis=1) for column in zip(*blocks, strict=True)))


def _try_block(problem: Problem, scales: Array, numbers: range, unit: Perturbations) -> _Candidates:
    """Evaluate a block of candidates of every trial on all examples."""
    assert isinstance(problem.model, ScoreLinear)
    xp, batch = array_namespace(problem.like), problem.minibatches.at(0)
    model, parts = problem.model, _parts(problem, len(numbers), batch)

    def loss_sums(features: Array, labels: Array) -> Array:
        unit_scores = model.scores_of_blocks(unit.draws, features)[:, unit.first :, ...]  # (J, M, C, N)
        sums = []
        for part, objective in parts:
            scores = scales[..., None] * unit.of_trials(unit_scores[:, part, ...])  # scores are linear: (K, M', C, N)
            losses = objective.losses_of_scores(xp.reshape(scores, (-1, *scores.shape[2:])), labels)
            sums.append(xp.reshape(double(xp.sum(losses, axis=-1)), scores.shape[:2]))
        return xp.concat(sums, axis=1)

    draws = unit.of_trials(unit.draws[:, unit.first :, ...])
    candidates = scales * draws  # (K, M, P)
    penalties = []
    for part, objective in parts:
        some = candidates[:, part, ...]
        penalty = objective.regularization_loss(problem.matrices(xp.reshape(some, (-1, problem.size))))
        penalties.append(xp.reshape(penalty, some.shape[:2]))
    return _Candidates(
        candidates=candidates,
        data_loss=total(problem.over_blocks(batch, loss_sums)) / len(batch),
        penalty=double(xp.concat(penalties, axis=1)),
    )


def _parts(problem: Problem, candidates: int, batch: Batch) -> list[tuple[slice, Objective]]:
    """Return slices of every trial's candidates whose scores stay in cache, and the objective of each slice."""
    scores = len(problem.trials) * len(problem.dataset.classes) * min(len(batch), problem.block)
    parts = problem.cache_sized_slices(candidates, scores)
    owners = [[trial for trial in problem.trials for _ in range(part.start, part.stop)] for part in parts]
    return [(part, Objective.of(some, like=problem.like)) for part, some in zip(parts, owners, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Improvements:
    """Which candidates of a block improved ``(K, M)``, their weights ``(I, P)``, and the best losses so far.

    ``losses`` are the measures other than the accuracy, ``(M, K)`` each.
    """

    improved: np.ndarray
    weights: Array
    losses: Measured


def _best_so_far(problem: Problem, state: State, block: _Candidates) -> tuple[State, _Improvements]:
    """Return the state after a block of candidates, but for its accuracy, and the improvements in the block."""
    candidates = array_namespace(block.candidates).reshape(block.candidates, (-1, problem.size))  # (K * M, P)
    losses = {"data_loss": host(block.data_loss), "regularization_loss": host(block.penalty)}
    total = losses["data_loss"] + losses["regularization_loss"]
    before = host(state["data_loss"]) + host(state["regularization_loss"])
    best = np.fmin.accumulate(np.concatenate([before[:, None], total], axis=1), axis=1)  # fmin: NaN is never the best
    improved = total < best[:, :-1]
    history = {name: _filled(host(state[name]), improved, values) for name, values in losses.items()}
    xp = array_namespace(problem.like)
    last = np.where(improved.any(axis=1), improved.shape[1] - 1 - improved[:, ::-1].argmax(axis=1), 0)
    chosen = take_rows(candidates, np.arange(len(last)) * improved.shape[1] + last)
    weights = xp.where(device_put(improved.any(axis=1), chosen)[:, None], chosen, state["weights"])
    after = {**state, "weights": weights} | {name: device_put(values[-1], chosen) for name, values in history.items()}
    return after, _Improvements(
        improved=improved, weights=take_rows(candidates, np.flatnonzero(improved)), losses=history
    )


def _with_accuracy(problem: Problem, state: State, blocks: Sequence[_Improvements]) -> tuple[State, Measured]:
    """Return the state and the measures of the best so far at every step, with the accuracy of the improvements."""
    history = {name: np.concatenate([block.losses[name] for block in blocks]) for name in blocks[0].losses}
    improved = np.concatenate([block.improved for block in blocks], axis=1)
    of_blocks = np.split(_accuracy_of(problem, blocks), np.cumsum([block.weights.shape[0] for block in blocks])[:-1])
    accuracy = [np.full(block.improved.shape, np.nan) for block in blocks]
    for block, values, of_block in zip(blocks, accuracy, of_blocks, strict=True):
        values[block.improved] = of_block
    history["accuracy"] = _filled(host(state["accuracy"]), improved, np.concatenate(accuracy, axis=1))
    return {**state, "accuracy": device_put(history["accuracy"][-1], state["weights"])}, history


def _accuracy_of(problem: Problem, blocks: Sequence[_Improvements]) -> np.ndarray:
    """Return the accuracy of the improvements of all blocks: they are few, so they are scored again.

    No more are scored at once than a block has candidates: the first steps of many trials give more improvements.
    """
    owners = [k for block in blocks for k in np.nonzero(block.improved)[0].tolist()]
    weights = array_namespace(problem.like).concat([block.weights for block in blocks], axis=0)
    accuracies = [np.empty(0)]
    for part in pieces(len(owners), block_sizes(problem.like).candidates):
        few = problem.of_trials(owners[part])
        accuracies.append(host(few.losses_and_accuracy(weights[part, ...], problem.minibatches.at(0))[1]))
    return np.concatenate(accuracies)


def _filled(before: np.ndarray, improved: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the last of ``values`` ``(K, M)`` that ``improved``, at every step, as ``(M, K)``."""
    history = [before]
    for better, value in zip(improved.T, values.T, strict=True):
        history.append(np.where(better, value, history[-1]))
    return np.stack(history[1:])
