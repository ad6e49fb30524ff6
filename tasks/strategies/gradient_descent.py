"""Following the gradient: minibatch gradient descent, full batch and batch size 1 included."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array
from tasks.arrays.devices import host
from tasks.datasets.dataset import Dataset
from tasks.errors import require
from tasks.fused.descent import Descent
from tasks.fused.problem import Problem
from tasks.fused.state import MEASURES, Measured, State
from tasks.strategies.plain_descent import PlainDescent
from tasks.strategies.row_descent import RowDescent
from tasks.strategies.scaled_descent import ScaledDescent

if TYPE_CHECKING:
    from tasks.memory import Sizes
    from tasks.trial import Trial

_INITIAL_SCALE = 1e-4
"""Where nothing is said, for scores that are linear in raw pixels."""

# On the host a stretch of steps takes no longer than some seconds: so many multiplications, and no more steps.
_MULTIPLICATIONS = 2**37
_STRETCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientDescent:
    """From ``initial_scale`` times the model's draw, step after step along the negative gradient of a minibatch.

    ``initial_scale`` null is 1e-4, for a network 1. One step is one evaluation of loss and gradient.
    Source: the notes, "Gradient Descent".
    """

    initial_scale: float | None = None

    def __post_init__(self) -> None:
        scale = self.initial_scale
        require(scale is None or scale >= 0, "strategy.initial_scale", "must be >= 0, or null", scale)

    def unused(self) -> frozenset[str]:
        """Return nothing: gradient descent uses every field."""
        return frozenset()

    def fusion_key(self, trial: Trial) -> tuple[Hashable, ...]:
        """Return the optimiser's kind, and whether gradients are clipped."""
        return (type(trial.optimizer).__name__, trial.clip is not None)

    def check(self, trial: Trial, dataset: Dataset) -> None:
        """Take any trial."""

    def stretch(self, problem: Problem) -> int:
        """Return how many steps are done at a time; a device waits for the host at the end of each stretch."""
        if not is_numpy_array(problem.like):
            return _STRETCH
        image = problem.model.multiplications(problem.dataset.image_shape, len(problem.dataset.classes))
        step = image * problem.minibatches.batch_size * len(problem.trials)
        return max(1, min(_STRETCH, _MULTIPLICATIONS // step))

    def bytes_a_trial(self, trial: Trial, sizes: Sizes) -> int:
        """Return the bytes of weights, gradients and updates, of the optimiser's state, and of what examples make."""
        # Plain descent keeps its weights unscaled as well.
        states = 1 if trial.optimizer.plain else len(trial.optimizer.init(np.empty(0)))
        blocks = min(2, -(-sizes.examples_a_step // sizes.block))  # a gradient so far, and that of a block
        seen = min(sizes.examples_a_step, sizes.block)
        return (3 + blocks + 2 * states) * sizes.weights + sizes.of_examples(seen)

    def bytes_beside(self, trial: Trial, sizes: Sizes) -> int:
        """Return nothing."""
        del trial, sizes
        return 0

    def init(self, problem: Problem) -> State:
        """Return the initial weights and the optimiser's state."""
        weights = problem.initial_weights([_scale(trial) for trial in problem.trials])
        return _descent(problem.trials[0]).init(problem, weights)

    def advance(self, problem: Problem, state: State, start: int, stop: int) -> tuple[State, Measured]:
        """Do steps ``start + 1`` to ``stop``.

        Measured are also ``gradient_norm``, and ``update_ratio``: the norm of the update over that of the weights
        it leads to. They are taken every ``record_every`` steps and NaN at the others.
        """
        steps = range(start + 1, stop + 1)
        descent = _descent(problem.trials[0])(problem, state, steps)
        measured, norms, recorded = [], [], []
        for number, step in enumerate(steps):
            # At the steps of the curve's points only: at every step it would cost some percent of it.
            wanted = step % problem.trials[0].record_every == 0
            measures, more = descent.step(number, norms=wanted)
            measured.append(measures)
            if wanted:
                norms.append(more)
                recorded.append(number)
        everything = dict(zip(MEASURES, _columns(measured), strict=True))
        for name in ("gradient_norm", "update_ratio"):
            everything[name] = np.full((stop - start, len(problem.trials)), np.nan)
        for name, column in zip(("gradient_norm", "update_ratio"), _columns(norms), strict=False):
            everything[name][recorded] = column
        return descent.state(), everything


def _descent(trial: Trial) -> type[Descent]:
    """Return how the steps are done: by the textbook, or with fewer passes over the weights where the rule allows."""
    if trial.clip is not None or not trial.optimizer.elementwise:
        return PlainDescent
    if trial.optimizer.plain:
        return ScaledDescent
    return RowDescent


def _columns(measured: Sequence[Sequence[Array]]) -> list[np.ndarray]:
    """Return what was measured step by step as ``(S, K)`` arrays: one copy from a device for each."""
    return [host(array_namespace(*column).stack(column)) for column in zip(*measured, strict=True)]


def _scale(trial: Trial) -> float:
    assert isinstance(trial.strategy, GradientDescent)
    scale = trial.strategy.initial_scale
    return trial.model.initial_scale(_INITIAL_SCALE) if scale is None else scale
