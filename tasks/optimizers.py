"""Optimisers: each a pair of pure functions, ``init`` and ``update``, in the manner of optax.

Weights are points ``(K, P)``, all parameters of ``K`` trials; a stacked row's numbers and the learning rate are
``(K, 1)``. ``step`` counts from 1; on a device it may be a floating-point array of one number. The update is added to
the weights. An elementwise rule may be given some rows of the parameters ``(H, D)`` instead of all, each row of one
trial.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.errors import require

State = Mapping[str, Any]


class Optimizer(Protocol):
    """An update rule: a row of `OPTIMIZERS`.

    ``elementwise`` says that a parameter's update depends on its own gradient alone. It is False for a rule that uses
    more, such as the norm of a trial's gradient; that rule gets all parameters of a trial together, as one point, and
    does not know which layer they belong to.
    ``plain`` says that the update is ``-learning_rate * g`` and nothing else.
    """

    elementwise: ClassVar[bool]
    plain: ClassVar[bool]

    def init(self, weights: Array) -> State:
        """Return the state before the first step: named arrays of the shape of the weights.

        If the row is stacked, each trial begins with its own numbers. A rule that needs the weights (decoupled decay,
        LAMB) keeps a copy in its state, by another name than ``weights``, and adds its updates to it: nothing else
        changes the weights.
        """

    def update(self, gradient: Array, state: State, *, learning_rate: Array, step: Array) -> tuple[Array, State]:
        """Return what to add to the weights, and the next state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd:
    """Gradient descent, ``-learning_rate * g``. Source: the notes, "Gradient Descent".

    >>> w, gradient, learning_rate = 3.0, 2.0, 0.5
    >>> update, _ = Sgd().update(gradient, {}, learning_rate=learning_rate, step=1)
    >>> updated = w + update
    >>> w -= learning_rate * gradient
    >>> w, updated
    (2.0, 2.0)
    """

    elementwise: ClassVar[bool] = True
    plain: ClassVar[bool] = True

    def init(self, weights: Array) -> State:
        """Return no state."""
        del weights
        return {}

    def update(self, gradient: Array, state: State, *, learning_rate: Array, step: Array) -> tuple[Array, State]:
        """Return ``-learning_rate * g``."""
        del step
        return -learning_rate * gradient, state


@dataclass(frozen=True, slots=True, kw_only=True)
class Momentum:
    """Heavy-ball momentum: ``v <- momentum v - learning_rate g``, update ``v`` (Polyak 1964).

    PyTorch has the learning rate outside of ``v``: the same updates at a constant rate, others under a schedule.
    """

    elementwise: ClassVar[bool] = True
    plain: ClassVar[bool] = False

    momentum: float = 0.9

    def __post_init__(self) -> None:
        _fraction("optimizer.momentum", self.momentum)

    def init(self, weights: Array) -> State:
        """Return a velocity of 0."""
        return {"velocity": _zeros(weights)}

    def update(self, gradient: Array, state: State, *, learning_rate: Array, step: Array) -> tuple[Array, State]:
        """Return the new velocity."""
        del step
        velocity = self.momentum * state["velocity"] - learning_rate * gradient
        return velocity, {"velocity": velocity}


@dataclass(frozen=True, slots=True, kw_only=True)
class Nesterov:
    """Nesterov momentum, in terms of the look-ahead point (Sutskever et al. 2013, CS231n's form).

    ``v <- momentum v - learning_rate g``, update ``momentum v - learning_rate g`` with the new ``v``.
    """

    elementwise: ClassVar[bool] = True
    plain: ClassVar[bool] = False

    momentum: float = 0.9

    def __post_init__(self) -> None:
        _fraction("optimizer.momentum", self.momentum)

    def init(self, weights: Array) -> State:
        """Return a velocity of 0."""
        return {"velocity": _zeros(weights)}

    def update(self, gradient: Array, state: State, *, learning_rate: Array, step: Array) -> tuple[Array, State]:
        """Return the step beyond the new velocity."""
        del step
        descent = learning_rate * gradient
        velocity = self.momentum * state["velocity"] - descent
        return self.momentum * velocity - descent, {"velocity": velocity}


@dataclass(frozen=True, slots=True, kw_only=True)
class Adagrad:
    """Adagrad: ``G <- G + g^2``, update ``-learning_rate g / (sqrt(G) + epsilon)`` (Duchi et al. 2011)."""

    elementwise: ClassVar[bool] = True
    plain: ClassVar[bool] = False

    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        require(self.epsilon > 0, "optimizer.epsilon", "must be > 0", self.epsilon)

    def init(self, weights: Array) -> State:
        """Return a sum of squares of 0."""
        return {"squares": _zeros(weights)}

    def update(self, gradient: Array, state: State, *, learning_rate: Array, step: Array) -> tuple[Array, State]:
        """Return the step scaled by the root of all squares so far."""
        del step
        xp = array_namespace(gradient)
        squares = state["squares"] + gradient * gradient
        return -learning_rate * gradient / (xp.sqrt(squares) + self.epsilon), {"squares": squares}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rmsprop:
    """RMSprop: ``G <- decay G + (1 - decay) g^2``, update ``-learning_rate g / (sqrt(G) + epsilon)``.

    Source: Tieleman and Hinton 2012, lecture 6.5.
    """

    elementwise: ClassVar[bool] = True
    plain: ClassVar[bool] = False

    decay: float = 0.99
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        _fraction("optimizer.decay", self.decay)
        require(self.epsilon > 0, "optimizer.epsilon", "must be > 0", self.epsilon)

    def init(self, weights: Array) -> State:
        """Return a mean square of 0."""
        return {"squares": _zeros(weights)}

    def update(self, gradient: Array, state: State, *, learning_rate: Array, step: Array) -> tuple[Array, State]:
        """Return the step scaled by the root of the decaying mean square."""
        del step
        xp = array_namespace(gradient)
        squares = self.decay * state["squares"] + (1 - self.decay) * (gradient * gradient)
        return -learning_rate * gradient / (xp.sqrt(squares) + self.epsilon), {"squares": squares}


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """Adam: ``m <- beta1 m + (1 - beta1) g``, ``v <- beta2 v + (1 - beta2) g^2``, both bias-corrected.

    Update ``-learning_rate m' / (sqrt(v') + epsilon)``, with ``m' = m / (1 - beta1^step)`` and
    ``v' = v / (1 - beta2^step)`` (Kingma and Ba 2015, algorithm 1).
    """

    elementwise: ClassVar[bool] = True
    plain: ClassVar[bool] = False

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        _fraction("optimizer.beta1", self.beta1)
        _fraction("optimizer.beta2", self.beta2)
        require(self.epsilon > 0, "optimizer.epsilon", "must be > 0", self.epsilon)

    def init(self, weights: Array) -> State:
        """Return both moments at 0."""
        return {"mean": _zeros(weights), "squares": _zeros(weights)}

    def update(self, gradient: Array, state: State, *, learning_rate: Array, step: Array) -> tuple[Array, State]:
        """Return the bias-corrected mean over the root of the bias-corrected mean square."""
        xp = array_namespace(gradient)
        mean = self.beta1 * state["mean"] + (1 - self.beta1) * gradient
        squares = self.beta2 * state["squares"] + (1 - self.beta2) * (gradient * gradient)
        corrected_mean = mean / (1 - self.beta1**step)
        corrected_squares = squares / (1 - self.beta2**step)
        update = -learning_rate * corrected_mean / (xp.sqrt(corrected_squares) + self.epsilon)
        return update, {"mean": mean, "squares": squares}


OPTIMIZERS: Mapping[str, type[Optimizer]] = {
    "sgd": Sgd,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": Adagrad,
    "rmsprop": Rmsprop,
    "adam": Adam,
}


def _fraction(parameter: str, value: float) -> None:
    require(0 <= value < 1, parameter, "must be at least 0 and below 1", value)


def _zeros(weights: Array) -> Array:
    return array_namespace(weights).zeros_like(weights)
