"""Steps of plain gradient descent, on weights kept as ``scale * unscaled``: few passes over them, however they decay.

L2 takes the same fraction off all weights of a trial at a step, so that their decay is one number (Bottou 2012,
"Stochastic Gradient Descent Tricks", section 5.1, for sparse data; here it spares the memory's bandwidth). The
learning rate multiplies the gradient by the scores, which is small, and the product is the update itself.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from tasks.devices import host, placed
from tasks.objective import Objective
from tasks.problem import Problem
from tasks.strategies.descent import Step, laid_out, rates_of, squared_norm
from tasks.strategies.strategy import State

# Weights whose scale leaves this range are multiplied by it, and have a scale of 1 again.
_SMALLEST, _LARGEST = 0.5, 2.0


def init(weights: Any) -> State:
    """Return the state before the first step: weights ``(K, C, D)``, what is scaled to them, scales ``(K, 1, 1)``."""
    xp = array_namespace(weights)
    scale = xp.ones((weights.shape[0], 1, 1), dtype=xp.float64, device=getattr(weights, "device", None))
    return {"weights": weights, "unscaled": weights, "scale": scale}


class ScaledDescent:
    """Consecutive steps of a group from one of its states; see `Descent`."""

    def __init__(self, problem: Problem, state: State, steps: range) -> None:
        self._problem, self._steps = problem, steps
        self._layout = problem.layout(len(problem.minibatches.at(0)))
        self._owners = self._layout.owners()
        self._unscaled = laid_out(state["unscaled"], self._layout)
        parts = problem.parts(self._layout.height, problem.shape[1])
        self._parts = [_Part.of(problem, part, self._owners) for part in parts]
        self._rates = rates_of(problem, steps)
        self._decays = np.array([trial.regularizer.decay * trial.regularization for trial in problem.trials])
        self._scales, self._renewals = scales(host(state["scale"])[:, 0, 0], 1 - self._rates * self._decays)
        self._before = problem.array(self._scales[:-1, :, None, None])
        self._factors = problem.array((-self._rates / self._scales[1:])[:, :, None, None])

    def state(self) -> State:
        """Return the state after the steps."""
        unscaled, scale = self._layout.units(self._unscaled), self._scales[-1][:, None, None]
        weights = self._problem.array(scale) * unscaled
        return {"weights": weights, "unscaled": unscaled, "scale": placed(scale, self._problem.like)}

    def step(self, number: int, *, norms: bool) -> Step:
        """Do the next step, ``number`` (from 0) of these; see `Descent`."""
        scale = self._before[number, ...]
        updates, data_loss, hits = self._problem.data_loss_and_gradient(
            self._unscaled, self._steps[number], self._layout, scale=scale, factor=self._factors[number, ...]
        )
        told = [self._update(part, updates, number, norms=norms) for part in self._parts]
        penalty, *squares = (self._layout.sums(column) for column in zip(*told, strict=True))
        measures = (data_loss, scale[:, 0, 0] ** 2 * penalty, hits)  # where it is not 1, the penalty is L2
        if not norms:
            return measures, ()
        gradient, weights = (array_namespace(square).sqrt(square) for square in squares)
        ratio = placed(self._rates[number] / np.abs(self._scales[number + 1]), gradient)
        return measures, (gradient, gradient * ratio / weights)

    def _update(self, part: _Part, updates: Any, number: int, *, norms: bool) -> tuple[Any, ...]:
        """Update some rows, and return their parts of the penalty of the unscaled, ``(H,)``.

        With ``norms``, return also those of the squared norms of gradient and new unscaled weights.
        """
        unscaled, update = (rows[part.place, None, :] for rows in (self._unscaled, updates))
        penalty = part.objective.regularization_loss(unscaled)
        if part.not_decaying:
            update -= self._of_rows(part, self._rates[number]) * part.not_decaying.regularization_gradient(unscaled)
        squares: tuple[Any, ...] = ()
        if norms:
            gradient = self._of_rows(part, -self._scales[number + 1] / self._rates[number]) * update
            gradient += self._of_rows(part, self._decays * self._scales[number]) * unscaled
            squares = (squared_norm(gradient),)
        if (self._renewals[number] != 1).any():
            unscaled *= self._of_rows(part, self._renewals[number])
        unscaled += update
        return (penalty, *squares, squared_norm(unscaled)) if norms else (penalty,)

    def _of_rows(self, part: _Part, values: np.ndarray) -> Any:
        """Return a value of every trial ``(K,)`` as one of every row of the part, ``(H, 1, 1)``."""
        return self._problem.array(values[self._owners[part.place], None, None])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Some of a group's rows, their objective, and that of the ones whose regularizer is no decay, where any are.

    To the objective each row is a trial of one class, ``(H, 1, D)``. Rows that nobody has stay zero.
    """

    place: slice
    objective: Objective
    not_decaying: Objective | None

    @classmethod
    def of(cls, problem: Problem, place: slice, owners: np.ndarray) -> _Part:
        trials = [problem.trials[k] for k in owners[place].tolist()]
        others = [dataclasses.replace(t, regularization=0.0) if t.regularizer.decay else t for t in trials]
        return cls(
            place=place,
            objective=Objective.of(trials, like=problem.like),
            not_decaying=Objective.of(others, like=problem.like) if any(t.regularization for t in others) else None,
        )


def scales(scale: np.ndarray, decays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the scales ``(S + 1, K)`` from ``scale`` ``(K,)`` on, and by what the unscaled are multiplied, ``(S, K)``.

    ``decays`` ``(S, K)`` is what each step multiplies the weights by.

    >>> scales(np.array([1.0]), np.array([[0.75], [0.5], [0.9]]))[0].ravel().tolist()
    [1.0, 0.75, 1.0, 0.9]
    """
    every, renewals = [scale], []
    for decay in decays:
        after = every[-1] * decay
        kept = (np.abs(after) >= _SMALLEST) & (np.abs(after) <= _LARGEST)
        renewals.append(np.where(kept, 1.0, after))
        every.append(np.where(kept, after, 1.0))
    return np.array(every), np.array(renewals)
