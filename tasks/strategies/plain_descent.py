"""Gradient descent as the notes write it: ``w -= learning_rate * gradient``, for any model and any update rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.stacking import per_trial
from tasks.fused.descent import Step, copies_to_join, squared_norm
from tasks.fused.problem import Problem
from tasks.fused.state import State
from tasks.fused.update_rules import UpdateRules

if TYPE_CHECKING:
    from tasks.memory import Sizes
    from tasks.trial import Trial


class PlainDescent:
    """Consecutive steps of a group from one of its states; see `Descent`.

    It is the oracle of the faster descents, and runs what they cannot: rules that are not elementwise and clipping,
    which both need a trial's whole gradient.
    """

    in_place: ClassVar[bool] = False

    def __init__(self, problem: Problem, state: State, steps: range) -> None:
        self._problem, self._steps, self._now = problem, steps, dict(state)
        self._rules = UpdateRules.of(problem.trials, like=problem.like)
        self._rates = problem.array(problem.learning_rates(steps)[..., None])  # (S, K, 1)
        limits = [np.inf if trial.clip is None else trial.clip for trial in problem.trials]
        self._limits = per_trial(limits, like=problem.like, trailing=1)

    @staticmethod
    def init(problem: Problem, weights: Array) -> State:
        """Return the weights and the optimisers' state, which may depend on the numbers of a trial's optimiser."""
        return {"weights": weights, **UpdateRules.of(problem.trials, like=problem.like).init(weights)}

    @staticmethod
    def bytes_per_trial(trial: Trial, sizes: Sizes, *, steps: int) -> int:
        """Return the bytes of the states, and the larger of those of the products and of the update; see `Descent`.

        An update takes the gradient, the new state, a bias-corrected copy of it, a quotient and its two operands.
        """
        del steps
        products = (1 + sizes.gradients + copies_to_join(trial)) * sizes.weights + sizes.of_examples
        return 3 * sizes.states * sizes.weights + max(products, (2 * sizes.states + 2) * sizes.weights)

    @staticmethod
    def temporaries(sizes: Sizes) -> int:
        """Return 0: all is updated at once."""
        del sizes
        return 0

    def state(self) -> State:
        """Return the state after the steps."""
        return self._now

    def step(self, number: int, *, norms: bool) -> Step:
        """Do the next step, ``number`` (from 0) of the steps; see `Descent`."""
        step, learning_rate = self._steps[number], self._rates[number, ...]
        weights, memory = self._now["weights"], {name: self._now[name] for name in self._rules.names}
        batch = self._problem.minibatches.at(step - 1)
        gradient, data_loss, penalty, accuracy = self._problem.loss_and_gradient(weights, batch)
        norm = _norm(gradient)
        gradient = clipped(gradient, norm, self._limits)
        update, after = self._rules.update(gradient, memory, learning_rate=learning_rate, step=step)
        weights = weights + update  # of plain gradient descent: w -= learning_rate * gradient
        self._now = {"weights": weights, **after}
        measures = (data_loss, penalty, accuracy)
        return measures, (norm, _norm(update) / _norm(weights)) if norms else ()


def clipped(gradient: Array, norm: Array, limit: Array) -> Array:
    """Return gradients ``(K, P)`` of norms ``norm`` ``(K,)``, scaled down to at most ``limit`` ``(K, 1)``.

    A gradient that exceeds its limit by more than the precision holds becomes NaN: its trial diverges. Divided by
    infinity, it would be 0, and the trial would stand still without a word.

    Source: Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks", algorithm 1.

    >>> clipped(np.array([[3.0, 4.0]]), np.array([5.0]), np.array([[1.0]]))
    array([[0.6, 0.8]])
    """
    xp = array_namespace(gradient)
    excess = xp.astype(norm, gradient.dtype)[:, None] / limit
    excess = xp.where(xp.isinf(excess), xp.full_like(excess, xp.nan), excess)
    return gradient / xp.maximum(excess, xp.ones_like(excess))


def _norm(points: Array) -> Array:
    """Return the Euclidean norm of every point ``(K, P)``, float64 ``(K,)``."""
    return array_namespace(points).sqrt(squared_norm(points))
