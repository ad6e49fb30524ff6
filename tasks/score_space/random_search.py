"""Random search in score space: many candidates of all trials are one product over the examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array
from tasks.arrays.devices import at_once, double, host, placed, rows
from tasks.arrays.stacking import per_trial
from tasks.fused.objective import Objective
from tasks.fused.problem import Batch, Problem, total
from tasks.fused.state import Measured, State
from tasks.models.model import ScoreLinear
from tasks.score_space.blocks import aligned_perturbations, blocks_of_steps
from tasks.weight_space.perturbations import Perturbations, drawn_ahead


def advance(
    problem: Problem, state: State, start: int, stop: int, *, scales: Sequence[float]
) -> tuple[State, Measured]:
    """Do steps ``start + 1`` to ``stop``: candidates are each trial's scale times a draw."""
    per = per_trial(scales, like=problem.like, trailing=2)
    kept: list[_Kept] = []
    tried: list[_Tried] = []
    largest = max(1, at_once(problem.like).candidates // len(problem.trials))
    blocks = blocks_of_steps(problem, start, stop, largest=largest)
    for numbers, unit in drawn_ahead(problem, blocks, aligned_perturbations):
        tried.append(_try_block(problem, per, numbers, unit))
        # Looking at the losses waits for a device: it is asked for some blocks before.
        enough = 1 if is_numpy_array(problem.like) else 2 * largest
        if numbers.stop == stop or sum(block.candidates.shape[1] for block in tried) >= enough:
            state, found = _keep_best(problem, state, _Tried.joined(tried))
            kept.append(found)
            tried = []
    return _with_accuracy(problem, state, kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """Candidates ``(K, M, P)`` of every trial, and their losses on all examples ``(K, M)``, where they live."""

    candidates: Array
    data_loss: Array
    penalty: Array

    @classmethod
    def joined(cls, blocks: Sequence[_Tried]) -> _Tried:
        """Return the candidates of blocks that follow one another."""
        if len(blocks) == 1:
            return blocks[0]
        xp = array_namespace(blocks[0].candidates)
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: xp.concat([getattr(block, name) for block in blocks], axis=1) for name in names})


def _try_block(problem: Problem, scales: Array, numbers: range, unit: Perturbations) -> _Tried:
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
    return _Tried(
        candidates=candidates,
        data_loss=total(problem.over_blocks(batch, loss_sums)) / len(batch),
        penalty=double(xp.concat(penalties, axis=1)),
    )


def _parts(problem: Problem, candidates: int, batch: Batch) -> list[tuple[slice, Objective]]:
    """Return a block of every trial's candidates in parts whose scores stay in cache, and the objective of each."""
    scores = len(problem.trials) * len(problem.dataset.classes) * min(len(batch), at_once(problem.like).examples)
    parts = problem.parts(candidates, scores)
    owners = [[trial for trial in problem.trials for _ in range(part.start, part.stop)] for part in parts]
    return [(part, Objective.of(some, like=problem.like)) for part, some in zip(parts, owners, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """Which candidates of a block improved ``(K, M)``, they themselves ``(I, P)``, and the best losses so far.

    ``losses`` are what is measured but for the accuracy, ``(M, K)`` each.
    """

    improved: np.ndarray
    weights: Array
    losses: Measured


def _keep_best(problem: Problem, state: State, tried: _Tried) -> tuple[State, _Kept]:
    """Walk through the candidates' losses, and return the state, but for its accuracy, and what was kept on the way."""
    candidates = array_namespace(tried.candidates).reshape(tried.candidates, (-1, problem.size))  # (K * M, P)
    losses = {"data_loss": host(tried.data_loss), "regularization_loss": host(tried.penalty)}
    total = losses["data_loss"] + losses["regularization_loss"]
    before = host(state["data_loss"]) + host(state["regularization_loss"])
    best = np.fmin.accumulate(np.concatenate([before[:, None], total], axis=1), axis=1)  # fmin: NaN is never the best
    improved = total < best[:, :-1]
    history = {name: _filled(host(state[name]), improved, values) for name, values in losses.items()}
    xp = array_namespace(problem.like)
    last = np.where(improved.any(axis=1), improved.shape[1] - 1 - improved[:, ::-1].argmax(axis=1), 0)
    chosen = rows(candidates, np.arange(len(last)) * improved.shape[1] + last)
    weights = xp.where(placed(improved.any(axis=1), chosen)[:, None], chosen, state["weights"])
    after = {**state, "weights": weights} | {name: placed(values[-1], chosen) for name, values in history.items()}
    return after, _Kept(improved=improved, weights=rows(candidates, np.flatnonzero(improved)), losses=history)


def _with_accuracy(problem: Problem, state: State, kept: Sequence[_Kept]) -> tuple[State, Measured]:
    """Return the state and the best so far at every step, with the accuracy of the candidates that improved."""
    history = {name: np.concatenate([block.losses[name] for block in kept]) for name in kept[0].losses}
    improved = np.concatenate([block.improved for block in kept], axis=1)
    hits = np.split(_accuracy_of(problem, kept), np.cumsum([block.weights.shape[0] for block in kept])[:-1])
    accuracy = [np.full(block.improved.shape, np.nan) for block in kept]
    for block, values, some in zip(kept, accuracy, hits, strict=True):
        values[block.improved] = some
    history["accuracy"] = _filled(host(state["accuracy"]), improved, np.concatenate(accuracy, axis=1))
    return {**state, "accuracy": placed(history["accuracy"][-1], state["weights"])}, history


def _accuracy_of(problem: Problem, kept: Sequence[_Kept]) -> np.ndarray:
    """Return the accuracy of all that improved: few, so they are scored once more, those of all blocks together."""
    owners = [problem.trials[k] for block in kept for k in np.nonzero(block.improved)[0]]
    if not owners:
        return np.empty(0)
    few = Problem.of(owners, problem.dataset, like=problem.like, threads=problem.threads)
    weights = array_namespace(problem.like).concat([block.weights for block in kept], axis=0)
    return host(few.losses_and_accuracy(weights, problem.minibatches.at(0))[1])


def _filled(before: np.ndarray, improved: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return ``values`` ``(K, M)`` where they ``improved``, else those of the step before, as ``(M, K)``."""
    history = [before]
    for better, value in zip(improved.T, values.T, strict=True):
        history.append(np.where(better, value, history[-1]))
    return np.stack(history[1:])
