"""Local search in score space: one product gives what each step of a block would add to the scores."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array
from tasks.arrays.devices import block_sizes, double, pieces
from tasks.arrays.stacking import per_trial
from tasks.fused.batches import Batch
from tasks.fused.parallel import total
from tasks.fused.problem import Problem
from tasks.fused.state import MEASURES, History, Measured, State
from tasks.models.model import ScoreLinear
from tasks.score_space.blocks import drawn_blocks
from tasks.weight_space.perturbations import Perturbations


def init(problem: Problem, state: State) -> State:
    """Return the state with the loss's coordinates of every example at the weights."""
    model, weights, kind = problem.model, state["weights"], problem.trials[0].loss.coordinates
    assert isinstance(model, ScoreLinear)
    blocks = problem.over_blocks(
        problem.minibatches.at(0), lambda features, labels: kind.of(model.scores_of_points(weights, features), labels)
    )
    return dict(state) | {"coordinates": array_namespace(weights).concat(blocks, axis=-1)}


def advance(problem: Problem, state: State, start: int, stop: int) -> tuple[State, Measured]:
    """Do steps ``start + 1`` to ``stop``."""
    batch, seeds = problem.minibatches.at(0), len(problem.seeds)
    bytes_a_candidate = seeds * len(batch) * len(problem.dataset.classes) * np.dtype(np.float32).itemsize
    # The moves of a block are kept for all examples.
    sizes = block_sizes(problem.like)
    largest = min(sizes.candidates // seeds, sizes.score_bytes // bytes_a_candidate)
    xp, walks = array_namespace(problem.like), _walks(problem, state)
    for numbers, unit in drawn_blocks(problem, start, stop, largest=largest):
        moves = _moves(problem, batch, unit.draws)
        for walk in walks:
            walk.try_block(numbers, unit, moves)
    now = {name: xp.concat([walk.now[name] for walk in walks], axis=0) for name in state}
    measured = [walk.history.measured() for walk in walks]
    return now, {name: np.concatenate([of_walk[name] for of_walk in measured], axis=1) for name in MEASURES}


def _moves(problem: Problem, batch: Batch, unit: Array) -> list[Array]:
    """Return what unit perturbations add to the coordinates, ``(J, M, C, n)`` for every block of n examples.

    For a device they are one block: launching its kernels takes longer than the arithmetic.
    """
    model, kind = problem.model, problem.trials[0].loss.coordinates
    assert isinstance(model, ScoreLinear)
    of_blocks = problem.over_blocks(batch, lambda x, labels: kind.changes(model.scores_of_blocks(unit, x), labels))
    return of_blocks if is_numpy_array(unit) else [array_namespace(unit).concat(of_blocks, axis=-1)]


class _Walk:
    """The search of some trials: their state ``now``, its history, and their coordinates on every block of n examples.

    A loss depends on its coordinates alone, of one kind in a group, and what a step adds to them is known.
    Coordinates ``(K, C, n)`` are views of the state's; they are also kept with the losses' offsets added.
    """

    def __init__(self, problem: Problem, state: State, part: slice, blocks: list[slice]) -> None:
        xp, self.history = array_namespace(problem.like), History()
        self.now = {name: array[part, ...] for name, array in state.items()}
        self.now["coordinates"] = xp.asarray(self.now["coordinates"], copy=True)  # updated in place
        self._part, self._problem = part, problem.of_trials(range(len(problem.trials))[part])
        offsets = [trial.loss.offset for trial in self._problem.trials]
        self._offsets = per_trial(offsets, like=problem.like, trailing=2)
        self._blocks = blocks
        self._coordinates = [self.now["coordinates"][..., block] for block in blocks]
        self._with_offset = [here + self._offsets for here in self._coordinates]

    def try_block(self, numbers: range, unit: Perturbations, moves: list[Array]) -> None:
        """Try steps ``numbers.start + 1`` to ``numbers.stop`` one by one."""
        own = dataclasses.replace(unit, seed_index=unit.seed_index[self._part])
        rates = self._problem.array(self._problem.learning_rates(range(numbers.start + 1, numbers.stop + 1))[..., None])
        for s, m in enumerate(own.members()):
            rate = rates[s, ...]
            step = rate * own.of_trials(own.draws[:, m, ...])
            self._try(step, [own.of_trials(of_block[:, m, ...]) for of_block in moves], rate[..., None])
            self.history.append(self.now)

    def _try(self, step: Array, moves: list[Array], rates: Array) -> None:
        """Try one step of every trial and accept it where the loss falls; ``rates`` ``(K, 1, 1)`` scale the moves."""
        xp, now, objective = array_namespace(step), self.now, self._problem.objective
        blocks = zip(self._with_offset, moves, strict=True)
        sums = [double(objective.sums_of_coordinates(here + rates * move)) for here, move in blocks]
        data_loss = total(sums) / len(self._problem.dataset.train)
        candidates = now["weights"] + step
        penalty = double(self._problem.regularization_loss(candidates))
        better = data_loss + penalty < now["data_loss"] + now["regularization_loss"]
        if is_numpy_array(better) and not better.any():
            return  # on a device, the test would take longer than what it saves
        self._move(better[:, None, None], moves, rates)
        now |= {
            "weights": xp.where(better[:, None], candidates, now["weights"]),
            "data_loss": xp.where(better, data_loss, now["data_loss"]),
            "regularization_loss": xp.where(better, penalty, now["regularization_loss"]),
            "accuracy": xp.where(better, self._accuracy(), now["accuracy"]),
        }

    def _move(self, accept: Any, moves: list[Array], rates: Array) -> None:
        xp = array_namespace(accept)
        for number, (here, move) in enumerate(zip(self._coordinates, moves, strict=True)):
            here[...] = xp.where(accept, here + rates * move, here)
            self._with_offset[number] = here + self._offsets

    def _accuracy(self) -> Array:
        xp, kind = array_namespace(*self._coordinates), self._problem.trials[0].loss.coordinates
        labels = self._problem.dataset.train.labels
        blocks = zip(self._coordinates, self._blocks, strict=True)
        hits = [xp.sum(xp.astype(kind.hits(here, labels[block]), xp.float64), axis=-1) for here, block in blocks]
        return total(hits) / len(self._problem.dataset.train)


def _walks(problem: Problem, state: State) -> list[_Walk]:
    """Return the trials in walks so small that their scores of a block of examples stay in cache; on a device, in one.

    They share one thread: arrays this small are computed faster than work is handed to another thread.
    """
    count = len(problem.dataset.train)
    size = problem.block if is_numpy_array(problem.like) else count
    blocks = pieces(count, size)
    parts = problem.cache_sized_slices(len(problem.trials), len(problem.dataset.classes) * min(size, count))
    return [_Walk(problem, state, part, blocks) for part in parts]
