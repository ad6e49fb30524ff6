"""What both searches share: unit perturbations shared by trials of one seed, and comparison on minibatches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from tasks.problem import BLOCK, Problem, host
from tasks.products import alignment
from tasks.random_streams import normal
from tasks.strategies.strategy import MEASURES, Measured, State

# The candidates of a block stand side by side in one product: this many of them reach its full speed.
CANDIDATES = 96


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


def perturbations(problem: Problem, numbers: range) -> Perturbations:
    """Return the unit perturbations of the steps ``numbers``."""
    seeds = sorted({trial.seed for trial in problem.trials})
    place = np.array([seeds.index(trial.seed) for trial in problem.trials])
    first = numbers.start % _alignment(problem)
    draws = np.zeros((len(seeds), first + len(numbers), *problem.shape), dtype=np.float32)
    for j, seed in enumerate(seeds):
        for m, number in enumerate(numbers, start=first):
            draws[j, m] = normal(seed, "perturbations", number, shape=problem.shape)
    return Perturbations(draws=problem.array(draws), place=place, first=first)


def blocks_of_steps(problem: Problem, start: int, stop: int, *, largest: int) -> Iterator[range]:
    """Yield the steps from ``start`` to ``stop`` in blocks of at most ``largest`` that begin on whole panels."""
    aligned = _alignment(problem)
    size = max(1, largest // aligned) * aligned
    while start < stop:
        end = min(start - start % aligned + size, stop)
        yield range(start, end)
        start = end


def _alignment(problem: Problem) -> int:
    classes, dimensions = problem.shape
    return alignment(classes, np.dtype(np.float32).name, min(BLOCK, len(problem.dataset.train)), dimensions)


def unknown_incumbent(problem: Problem, weights: Any) -> State:
    """Return the state of a search that has evaluated nothing: any finite loss is better."""
    count = len(problem.trials)
    return {
        "weights": weights,
        "data_loss": np.full(count, np.inf),
        "regularization_loss": np.zeros(count),
        "accuracy": np.full(count, np.nan),
    }


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
    now = dict(state)
    history: dict[str, list[np.ndarray]] = {name: [] for name in MEASURES}
    for step in range(start + 1, stop + 1):
        comparison = step // 2
        batch = problem.minibatches.at(comparison)
        if step % 2 == 0:
            now["data_loss"], now["accuracy"] = problem.losses_and_accuracy(now["weights"], batch)
        else:
            unit = perturbations(problem, range(comparison, comparison + 1))
            candidates = propose(now["weights"], unit.draws[:, unit.first][unit.place])
            data_loss, hits = problem.losses_and_accuracy(candidates, batch)
            penalty = host(problem.objective.regularization_loss(candidates))
            better = data_loss + penalty < now["data_loss"] + now["regularization_loss"]
            now["weights"] = xp.where(xp.asarray(better)[:, None, None], candidates, now["weights"])
            now |= {
                "data_loss": np.where(better, data_loss, now["data_loss"]),
                "regularization_loss": np.where(better, penalty, now["regularization_loss"]),
                "accuracy": np.where(better, hits, now["accuracy"]),
            }
        for name, values in history.items():
            values.append(now[name])
    return now, {name: np.stack(values) for name, values in history.items()}
