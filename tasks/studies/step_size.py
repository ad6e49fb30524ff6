"""task=step_size: the loss after one step along the negative gradient, for step sizes over many decades."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.devices import host, in_precision, pieces
from tasks.datasets.dataset import Dataset
from tasks.errors import require
from tasks.events import Curve, Event, Outcome, Result
from tasks.fused.batches import Batch
from tasks.fused.problem import Problem
from tasks.models.model import ScoreLinear
from tasks.score_space import step_size as score_space
from tasks.studies.study import Study, require_examples, require_scale
from tasks.weight_space.points import chosen_examples, gaussian, gradient_at, objective_values, points_at_once

if TYPE_CHECKING:
    from tasks.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSize(Study):
    """Take one step of each size along the negative analytic gradient, all from the same point.

    Step sizes are the powers of ten from ``10^lowest`` to ``10^highest``, ``per_decade`` of them a decade.
    The point is ``weights_scale`` times the model's draw (None: scores of about 1, `natural_scale`); gradient and loss
    are those of ``examples`` training examples drawn by ``data_seed``, None for all.
    Everything is in float64: float32 does not resolve the change of the loss by a step of 1e-10.
    Source: the notes, "Computing the gradient numerically with finite differences", the table of step sizes.
    """

    lowest: int = -10
    highest: int = -1
    per_decade: int = 1
    examples: int | None = None
    weights_scale: float | None = None

    def __post_init__(self) -> None:
        require(self.lowest < self.highest, "task.lowest", f"must be below task.highest ({self.highest})", self.lowest)
        require(self.lowest >= -300, "task.lowest", "must be >= -300", self.lowest)
        require(self.highest <= 100, "task.highest", "must be <= 100", self.highest)
        require(self.per_decade >= 1, "task.per_decade", "must be >= 1", self.per_decade)
        require_examples(self.examples)
        require_scale("task.weights_scale", self.weights_scale, zero=True)

    def study(self, trial: Trial, dataset: Dataset, *, threads: int, like: Array) -> Iterator[Event]:
        """Yield the table, as a curve with one point a step size and as the arrays of the result.

        The arrays are ``step_sizes``, ``data_loss`` and ``regularization_loss`` ``(S,)``, ``original_loss``
        ``()`` and the ``weights`` that the steps are taken from.
        """
        problem = Problem.of([trial], dataset, like=in_precision(like, "float64"), threads=threads)
        weights = gaussian(problem, "initial weights", scale=self.weights_scale)
        batch = chosen_examples(problem, self.examples)
        sizes = powers_of_ten(self.lowest, self.highest, self.per_decade)
        yield from _events(sizes, problem, weights, batch)


def powers_of_ten(lowest: int, highest: int, per_decade: int) -> np.ndarray:
    """Return ``10^lowest`` to ``10^highest``; the integer powers are exact.

    >>> powers_of_ten(-2, 0, 2)
    array([0.01      , 0.03162278, 0.1       , 0.31622777, 1.        ])
    """
    decades = np.array([float(f"1e{exponent}") for exponent in range(lowest, highest + 1)])
    inside = 10.0 ** (np.arange(per_decade) / per_decade)
    return (decades[:, None] * inside).ravel()[: (highest - lowest) * per_decade + 1]


def _events(sizes: np.ndarray, problem: Problem, weights: np.ndarray, batch: Batch) -> Iterator[Event]:
    here = problem.array(weights)
    gradient = gradient_at(problem, here[None, ...], batch)[0, ...]
    # The original loss is the step of size 0.
    data, regularization = losses_after(problem, here, gradient, np.concatenate([[0.0], sizes]), batch)
    # A step may be so long that a network's scores overflow.
    data = np.where(np.isnan(data), np.inf, data)
    loss = data + regularization
    metrics = {"step_size/step_size": sizes, "step_size/loss": loss[1:]}
    yield Curve(trial=0, steps=np.arange(len(sizes)), metrics=metrics)
    best = int(np.argmin(loss[1:]))
    yield Result(
        trial=0,
        outcome=Outcome.COMPLETE,
        step=len(sizes) - 1,
        metrics={
            "step_size/original_loss": float(loss[0]),
            "step_size/lowest_loss": float(loss[1 + best]),
            "step_size/best_step_size": float(sizes[best]),
            "step_size/gradient_norm": float(np.sqrt(np.sum(host(gradient * gradient)))),
        },
        arrays={
            "step_sizes": sizes,
            "data_loss": data[1:],
            "regularization_loss": regularization[1:],
            "original_loss": np.asarray(loss[0]),
            **problem.named(weights),
        },
        message=_in_words(sizes, loss[1:], float(loss[0])),
    )


def losses_after(
    problem: Problem, weights: Array, gradient: Array, sizes: np.ndarray, batch: Batch
) -> tuple[np.ndarray, np.ndarray]:
    """Return the data and regularization loss ``(S,)`` at ``weights - size * gradient`` for every step size.

    The weights and the gradient are points ``(P,)``.
    """
    if isinstance(problem.model, ScoreLinear):
        return score_space.losses_after(problem, weights, gradient, sizes, batch)
    xp = array_namespace(weights)
    parts = pieces(len(sizes), points_at_once(problem, batch))
    moved = (xp.stack([weights - size * gradient for size in sizes[part].tolist()]) for part in parts)
    values = [objective_values(problem, points, batch) for points in moved]
    data, regularization = (host(xp.concat(list(column))) for column in zip(*values, strict=True))
    return data, regularization


def _in_words(sizes: np.ndarray, losses: np.ndarray, original: float) -> str:
    best = int(np.argmin(losses))
    words = f"the loss of {original:.6g} becomes {losses[best]:.6g} with a step of {sizes[best]:.3g}"
    if best == len(sizes) - 1:
        return f"{words}, the largest tried: no step overshoots"
    if not (losses[best:] > losses[best]).any():  # one example may have the loss 0 from a step on
        return f"{words} and with every longer one: no step overshoots"
    beyond = np.flatnonzero(losses[best:] > original) + best
    above = f", above where it started from {sizes[beyond[0]]:.3g} on" if len(beyond) else ""
    return f"{words}; longer steps overshoot, to {losses[-1]:.6g} with {sizes[-1]:.3g}{above}"
