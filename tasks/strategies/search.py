"""The loop of both searches for any model: propose a candidate, evaluate it, keep it if it is better."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array
from tasks.arrays.devices import block_sizes, double
from tasks.fused.problem import Problem
from tasks.fused.state import History, Measured, State
from tasks.models.model import ScoreLinear
from tasks.strategies.strategy import Work
from tasks.weight_space.perturbations import perturbations

if TYPE_CHECKING:
    from tasks.memory import Sizes
    from tasks.trial import Trial

STRETCH = 100
"""What `stretch` is at least: in so many steps, what a call of `advance` itself costs does not count."""


def in_score_space(problem: Problem) -> bool:
    """Return whether a search is in score space: scores are linear, and every step sees all examples."""
    return isinstance(problem.model, ScoreLinear) and sees_all(problem)


def sees_all(problem: Problem) -> bool:
    """Return whether every step sees the full training set."""
    return problem.minibatches.batch_size == len(problem.dataset.train)


def stretch(problem: Problem) -> int:
    """Return how many steps a search does at a time: a block of candidates, two on a device, at least `STRETCH`."""
    blocks = block_sizes(problem.like).candidates // len(problem.trials)
    return max(STRETCH, blocks if is_numpy_array(problem.like) else 2 * blocks)


def work_of_search(trials: Sequence[Trial], examples: int) -> Work:
    """Return a forward pass a trial; in score space a pass a seed, and blocks of steps that share a reading."""
    first = trials[0]
    if isinstance(first.model, ScoreLinear) and first.batch_size in {None, examples}:
        return Work(readings=0, passes=len({trial.seed for trial in trials}))
    return Work(readings=1, passes=len(trials))


def bytes_of_search(sizes: Sizes) -> int:
    """Return the bytes that a trial adds to a search, with those of the examples.

    Eight arrays are as large as the weights: those of the checkpoint, of the state before and now, draws, a step, the
    candidate and the one before it, and its rows for a product.
    """
    return 8 * sizes.weights + (5 * sizes.scores + sizes.layers) * max(sizes.seen, sizes.evaluated)


def bytes_of_draws(sizes: Sizes) -> int:
    """Return the bytes of two blocks of draws, the last and the next, of a search that is not in score space."""
    return 2 * sizes.candidates * sizes.weights if sizes.candidates > 1 else 0


def advance_one_by_one(
    problem: Problem, state: State, start: int, stop: int, propose: Callable[[Array, Array, int], Array]
) -> tuple[State, Measured]:
    """Do steps ``start + 1`` to ``stop`` of a search, one evaluation each.

    Where a step sees all examples, every step evaluates a candidate. On minibatches, incumbent and candidate are
    compared on the same examples: step 1 evaluates the first candidate; then every even step evaluates the incumbent
    again on a new minibatch, and every odd step a candidate on that minibatch. ``propose(weights, unit, step)`` returns
    the candidates ``(K, P)``.
    """
    xp = array_namespace(problem.like)
    now, history, whole = dict(state), History(), sees_all(problem)
    directions = _directions(problem, range(start, stop) if whole else range((start + 1) // 2, (stop + 1) // 2))
    for step in range(start + 1, stop + 1):
        batch = problem.minibatches.at(step // 2)
        if not whole and step % 2 == 0:
            now["data_loss"], now["accuracy"] = problem.losses_and_accuracy(now["weights"], batch)
        else:
            candidates = propose(now["weights"], next(directions), step)
            data_loss, accuracy = problem.losses_and_accuracy(candidates, batch)
            penalty = double(problem.regularization_loss(candidates))
            better = data_loss + penalty < now["data_loss"] + now["regularization_loss"]
            now |= {
                "weights": xp.where(better[:, None], candidates, now["weights"]),
                "data_loss": xp.where(better, data_loss, now["data_loss"]),
                "regularization_loss": xp.where(better, penalty, now["regularization_loss"]),
                "accuracy": xp.where(better, accuracy, now["accuracy"]),
            }
        history.append(now)
    return now, history.measured()


def _directions(problem: Problem, numbers: range) -> Iterator[Array]:
    """Yield the direction of every candidate; a device gets a block of them in one copy, which blocks."""
    largest = block_sizes(problem.like).candidates // len(problem.seeds)
    size = 1 if is_numpy_array(problem.like) else max(1, largest)
    for first in range(numbers.start, numbers.stop, size):
        unit = perturbations(problem, range(first, min(first + size, numbers.stop)))
        yield from (unit.of_trials(unit.draws[:, m, ...]) for m in unit.members())
