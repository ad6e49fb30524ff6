"""L-BFGS on the full training set: scipy's, its evaluations the steps of a trial."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from tasks.devices import host
from tasks.optimizers import Lbfgs
from tasks.problem import Problem
from tasks.strategies.strategy import MEASURES, Measured, State


class _BudgetSpentError(Exception):
    """The last evaluation of the budget is done."""


def init(weights: Any) -> State:
    """Return the state before the first evaluation: where every trial begins, which is kept."""
    return {"weights": weights, "initial_weights": weights}


def advance(problem: Problem, state: State, start: int, stop: int) -> tuple[State, Measured]:
    """Follow every trial to its evaluation ``stop``; the best weights evaluated are its answer so far.

    scipy's L-BFGS cannot be stopped and taken up again, but it is deterministic: evaluations up to ``start``
    are made again, which costs a trial of 1000 steps 5.5 times its evaluations, and one of 100 nothing.
    """
    xp = array_namespace(problem.like)
    paths = [
        _follow(problem.of_trials([k]), state["initial_weights"][k : k + 1, ...], start, stop)
        for k in range(len(problem.trials))
    ]
    weights = xp.concat([problem.array(best) for best, _ in paths])
    measured = np.stack([rows for _, rows in paths], axis=1)  # (S, K, 3)
    return dict(state) | {"weights": weights}, {name: measured[..., m] for m, name in enumerate(MEASURES)}


def _follow(problem: Problem, weights: Any, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a lone trial's best weights ``(1, C, D)`` and what it measured after ``start``, ``(stop - start, 3)``.

    Where L-BFGS needs no more evaluations (it has converged), the last one stands for the rest.
    """
    from scipy.optimize import minimize  # noqa: PLC0415  # half a second that only L-BFGS should cost

    optimizer = problem.trials[0].optimizer
    assert isinstance(optimizer, Lbfgs)
    seen: list[tuple[float, ...]] = []
    best = (np.inf, host(weights))

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best
        if len(seen) == stop:
            raise _BudgetSpentError
        here = flat.reshape(weights.shape)
        gradient, *measures = problem.loss_and_gradient(problem.array(here), len(seen) + 1)
        seen.append(tuple(float(measure[0]) for measure in measures))
        loss = seen[-1][0] + seen[-1][1]
        if loss < best[0]:
            best = (loss, here.copy())
        return loss, host(gradient).ravel()

    options = {"maxcor": optimizer.history, "maxfun": stop + 1, "maxiter": stop + 1, "ftol": 0, "gtol": 0}
    with contextlib.suppress(_BudgetSpentError):
        minimize(evaluate, host(weights).ravel(), jac=True, method="L-BFGS-B", options=options)
    seen += [seen[-1]] * (stop - len(seen))
    return best[1], np.array(seen[start:])
