"""What both searches share: unit perturbations shared by trials of one seed, and comparison on minibatches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.devices import at_once, double, host, rows, staging
from tasks.problem import Problem, in_order
from tasks.products import alignment
from tasks.random_streams import normal
from tasks.strategies.strategy import MEASURES, Measured, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbations:
    """N(0, 1) draws of a block of steps, ``draws (J, M, C, D)``, for the ``J`` different seeds of a group.

    ``place (K,)`` is each trial's place among the seeds: trials of one seed see the same directions, each at
    its own scale, and share their products. The steps are members ``first`` to M of the block: what stands
    before them is zero and keeps every step in its own place of a panel, whatever the block begins with.
    """

    draws: Any
    place: np.ndarray
    first: int

    def members(self) -> range:
        """Return the places of the steps in the block."""
        return range(self.first, self.draws.shape[1])

    def of_trials(self, array: Any) -> Any:
        """Return what each trial takes of ``(J, ...)``, ``(K, ...)``; what one seed has for all is ``(1, ...)``."""
        shared = array.shape[0] == 1
        return array if shared or np.array_equal(self.place, np.arange(array.shape[0])) else rows(array, self.place)


def perturbations(problem: Problem, numbers: range) -> Perturbations:
    """Return the unit perturbations of the steps ``numbers``."""
    seeds = problem.seeds
    place = np.array([seeds.index(trial.seed) for trial in problem.trials])
    first = numbers.start % _alignment(problem)
    draws = staging((len(seeds), first + len(numbers), *problem.shape), problem.like)
    draws[:, :first] = 0

    def draw(some: np.ndarray) -> None:
        for number in some.tolist():
            for j, seed in enumerate(seeds):
                normal(seed, "perturbations", numbers.start + number, out=draws[j, first + number])

    in_order(draw, np.array_split(np.arange(len(numbers)), problem.threads), threads=problem.threads)
    return Perturbations(draws=problem.array(draws), place=place, first=first)


def drawn_ahead(problem: Problem, blocks: Iterable[range]) -> Iterator[tuple[range, Perturbations]]:
    """Yield blocks of steps with their perturbations; while a device computes, the host draws the next ones."""
    if is_numpy_array(problem.like):
        yield from ((numbers, perturbations(problem, numbers)) for numbers in blocks)
        return
    with ThreadPoolExecutor(1) as ahead:
        waiting: deque[tuple[range, Future[Perturbations]]] = deque()
        for numbers in blocks:
            waiting.append((numbers, ahead.submit(perturbations, problem, numbers)))
            if len(waiting) == 2:
                ready, drawn = waiting.popleft()
                yield ready, drawn.result()
        yield from ((numbers, drawn.result()) for numbers, drawn in waiting)


def blocks_of_steps(problem: Problem, start: int, stop: int, *, largest: int) -> Iterator[range]:
    """Yield the steps from ``start`` to ``stop`` in even blocks of at most ``largest`` that begin on whole panels.

    A device begins with a small one: while it computes, the host draws the next.
    """
    if not is_numpy_array(problem.like) and stop - start > largest:
        begun = start + max(1, largest // 8)
        yield range(start, begun)
        start = begun
    aligned = _alignment(problem)
    whole = stop - start + start % aligned
    count = -(-whole // (max(1, largest // aligned) * aligned))
    size = -(-whole // (count * aligned)) * aligned
    while start < stop:
        end = min(start - start % aligned + size, stop)
        yield range(start, end)
        start = end


def _alignment(problem: Problem) -> int:
    if not is_numpy_array(problem.like):
        return 1  # nothing is known of a device's panels
    classes, dimensions = problem.shape
    examples = min(at_once(problem.like).examples, len(problem.dataset.train))
    return alignment(classes, problem.like.dtype.name, examples, dimensions)


class History:
    """What a search knew of its incumbents step by step."""

    def __init__(self) -> None:
        self._values: dict[str, list[Any]] = {name: [] for name in MEASURES}

    def append(self, state: State) -> None:
        """Add the state after a step."""
        for name, values in self._values.items():
            values.append(state[name])

    def measured(self) -> Measured:
        """Return it all, moved to the host at once."""
        return {name: host(array_namespace(*values).stack(values)) for name, values in self._values.items()}


def unknown_incumbent(problem: Problem, weights: Any) -> State:
    """Return the state of a search that has evaluated nothing: any finite loss is better."""
    xp, count = array_namespace(weights), len(problem.trials)
    values = {"data_loss": xp.inf, "regularization_loss": 0.0, "accuracy": xp.nan}
    there = {"dtype": xp.float64, "device": getattr(weights, "device", None)}
    return {"weights": weights} | {name: xp.full(count, value, **there) for name, value in values.items()}


def advance_on_minibatches(
    problem: Problem,
    state: State,
    start: int,
    stop: int,
    propose: Callable[[Any, Any], Any],
) -> tuple[State, Measured]:
    """Search with a new minibatch for every comparison: incumbent and candidate meet on the same examples.

    Step 1 evaluates the first candidate; then every even step evaluates the incumbent again on a new
    minibatch, and every odd step a candidate on that same minibatch. ``propose(weights, unit)`` returns the
    candidates ``(K, C, D)``.
    """
    xp = array_namespace(problem.like)
    now, history = dict(state), History()
    directions = _one_by_one(problem, range((start + 1) // 2, (stop + 1) // 2))
    for step in range(start + 1, stop + 1):
        batch = problem.minibatches.at(step // 2)
        if step % 2 == 0:
            now["data_loss"], now["accuracy"] = problem.losses_and_accuracy(now["weights"], batch)
        else:
            candidates = propose(now["weights"], next(directions))
            data_loss, hits = problem.losses_and_accuracy(candidates, batch)
            penalty = double(problem.objective.regularization_loss(candidates))
            better = data_loss + penalty < now["data_loss"] + now["regularization_loss"]
            now |= {
                "weights": xp.where(better[:, None, None], candidates, now["weights"]),
                "data_loss": xp.where(better, data_loss, now["data_loss"]),
                "regularization_loss": xp.where(better, penalty, now["regularization_loss"]),
                "accuracy": xp.where(better, hits, now["accuracy"]),
            }
        history.append(now)
    return now, history.measured()


def _one_by_one(problem: Problem, comparisons: range) -> Iterator[Any]:
    """Yield the directions of every comparison; a device gets a block of them at once, since a copy to it waits."""
    most = at_once(problem.like).candidates // len(problem.seeds)
    size = 1 if is_numpy_array(problem.like) else max(1, most)
    for first in range(comparisons.start, comparisons.stop, size):
        unit = perturbations(problem, range(first, min(first + size, comparisons.stop)))
        yield from (unit.of_trials(unit.draws[:, m, ...]) for m in unit.members())
