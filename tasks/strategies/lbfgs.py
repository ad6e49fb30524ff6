"""L-BFGS (scipy's) on the full training set; an evaluation is a step of the trial."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace
from threadpoolctl import threadpool_limits

from tasks.arrays.array import Array
from tasks.arrays.devices import host
from tasks.datasets.dataset import Dataset
from tasks.errors import require
from tasks.fused.problem import Problem
from tasks.fused.state import MEASURES, Measured, State
from tasks.strategies.strategy import Work, check_initial_scale, initial_weights

if TYPE_CHECKING:
    from tasks.memory import Sizes
    from tasks.trial import Trial

_INITIAL_SCALE = 1e-4
"""The default of a linear model on raw pixels, as for gradient descent."""

_STRETCH = 100

# The arrays of the size of the weights, other than pairs, that a run of scipy's L-BFGS and its best weights take.
_SCIPY = 24


class _BudgetSpentError(Exception):
    """The last evaluation of the budget is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lbfgs:
    """L-BFGS with the last ``history`` pairs (Liu and Nocedal 1989), scipy's, line search included.

    It starts from ``initial_scale`` times the model's draw (null: 1e-4, for a network 1). Its line search chooses the
    step sizes: there is no learning rate. Source: the notes, "Gradient Descent" ("e.g. LBFGS").
    """

    history: int = 10
    initial_scale: float | None = None

    def __post_init__(self) -> None:
        require(self.history >= 1, "strategy.history", "must be >= 1", self.history)
        check_initial_scale(self.initial_scale)

    def unused(self) -> frozenset[str]:
        """Return the fields of a descent by an update rule."""
        return frozenset({"learning_rate", "optimizer", "schedule", "clip"})

    def fusion_key(self, trial: Trial) -> tuple[Hashable, ...]:
        """Return an empty key: there is no further condition."""
        del trial
        return ()

    def check(self, trial: Trial, dataset: Dataset) -> None:
        """Refuse minibatches: a line search needs one objective."""
        whole = trial.batch_size in {None, len(dataset.train)}
        require(whole, "batch_size", "must be null for strategy=lbfgs", trial.batch_size)

    def stretch(self, problem: Problem) -> int:
        """Return many steps: each call of `advance` runs L-BFGS from the first evaluation again."""
        del problem
        return _STRETCH

    def bytes_per_trial(self, trial: Trial, sizes: Sizes) -> int:
        """Return the bytes of the weights and those of the examples.

        The weights are the initial and the last ones, the last ones of the checkpoint that the group goes on from, and
        the best ones in double precision, in single precision and joined.
        """
        del trial
        return 8 * sizes.weights + sizes.of_examples

    def fixed_bytes(self, trial: Trial, sizes: Sizes) -> int:
        """Return the bytes of one trial's run, for trials run one after the other.

        In double precision scipy has pairs, bounds, and copies of the point and its gradient.
        """
        del trial
        return (2 * (2 * self.history + _SCIPY) + 6 + sizes.gradients) * sizes.weights

    def work(self, trials: Sequence[Trial], examples: int) -> Work:
        """Return the work of evaluations, which trials do not share, and which are repeated: see `advance`."""
        del examples
        trial = trials[0]
        calls = -(-trial.steps // min(_STRETCH, trial.evaluate_every))
        return Work(readings=len(trials) * (calls + 1) / 2, passes=len(trials) * (calls + 1))

    def init(self, problem: Problem) -> State:
        """Return the state before the first evaluation; it keeps the initial weights of every trial."""
        weights = initial_weights(problem, usual=_INITIAL_SCALE)
        return {"weights": weights, "initial_weights": weights}

    def advance(self, problem: Problem, state: State, start: int, stop: int) -> tuple[State, Measured]:
        """Run every trial to its evaluation ``stop``; its weights are the best ones evaluated.

        scipy's L-BFGS cannot be paused, but it is deterministic: the evaluations up to ``start`` are repeated. A trial
        of 1000 steps that is evaluated every 100 makes 5.5 times as many evaluations, one of 100 no more.
        """
        xp = array_namespace(problem.like)
        paths = [
            _follow(problem.of_trials([k]), state["initial_weights"][k : k + 1, ...], start, stop)
            for k in range(len(problem.trials))
        ]
        weights = xp.concat([problem.array(best) for best, _ in paths])
        measured = np.stack([rows for _, rows in paths], axis=1)  # (S, K, 3)
        return dict(state) | {"weights": weights}, {name: measured[..., m] for m, name in enumerate(MEASURES)}


def _follow(problem: Problem, weights: Array, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Return one trial's best weights ``(1, P)`` and its measures after step ``start``, ``(stop - start, 3)``.

    Once L-BFGS has converged, its last evaluation is repeated for the remaining steps.
    """
    from scipy.optimize import minimize  # noqa: PLC0415  # half a second, for L-BFGS only

    strategy, batch = problem.trials[0].strategy, problem.minibatches.at(0)
    assert isinstance(strategy, Lbfgs)
    evaluations: list[tuple[float, ...]] = []
    best = (np.inf, host(weights))

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best
        if len(evaluations) == stop:
            raise _BudgetSpentError
        here = flat.reshape(weights.shape)
        gradient, *measures = problem.loss_and_gradient(problem.array(here), batch)
        evaluations.append(tuple(float(measure[0]) for measure in measures))
        loss = evaluations[-1][0] + evaluations[-1][1]
        if loss < best[0]:
            best = (loss, here.copy())
        return loss, host(gradient).ravel()

    options = {
        "maxcor": strategy.history,
        "maxfun": stop + 1,
        "maxiter": stop + 1,
        "ftol": 0,
        "gtol": 0,
    }
    # Scipy has a BLAS of its own, which may have been loaded since the worker limited the others to one thread.
    with contextlib.suppress(_BudgetSpentError), threadpool_limits(1, user_api="blas"):
        minimize(evaluate, host(weights).ravel(), jac=True, method="L-BFGS-B", options=options)
    evaluations += [evaluations[-1]] * (stop - len(evaluations))
    return best[1], np.array(evaluations[start:])
