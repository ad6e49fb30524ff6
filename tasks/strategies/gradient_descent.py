"""Gradient descent: minibatch, full batch or stochastic (batch size 1)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace, is_numpy_array

from tasks.arrays.array import Array
from tasks.arrays.devices import host
from tasks.arrays.stacking import form
from tasks.datasets.dataset import Dataset
from tasks.fused.descent import Descent, Replayed
from tasks.fused.problem import CACHED_BYTES, Problem
from tasks.fused.state import MEASURES, Measured, State
from tasks.fused.update_rules import empty_state
from tasks.strategies.plain_descent import PlainDescent
from tasks.strategies.row_descent import RowDescent
from tasks.strategies.scaled_descent import ScaledDescent
from tasks.strategies.strategy import Work, check_initial_scale, initial_weights

if TYPE_CHECKING:
    from tasks.memory import Sizes
    from tasks.trial import Trial

_INITIAL_SCALE = 1e-4
"""The default of a linear model on raw pixels."""

# The most steps and multiplications of a stretch, on the host and on a device: it takes a few seconds at most. A device
# waits for the host after each, and records its steps anew.
_HOST_STRETCH = (100, 2**37)
_DEVICE_STRETCH = (500, 2**43)


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientDescent:
    """Steps along the negative gradient of a minibatch, from ``initial_scale`` times the model's draw.

    ``initial_scale`` null is 1e-4, for a network 1. One step is one evaluation of loss and gradient.
    Source: the notes, "Gradient Descent".
    """

    initial_scale: float | None = None

    def __post_init__(self) -> None:
        check_initial_scale(self.initial_scale)

    def unused(self) -> frozenset[str]:
        """Return nothing: gradient descent uses every field."""
        return frozenset()

    def fusion_key(self, trial: Trial) -> tuple[Hashable, ...]:
        """Return how the update is computed; rules with a state of another type than the weights are kept apart."""
        alike = all(array.dtype == np.float32 for array in empty_state(trial.optimizer).values())
        return (_descent(trial), None if alike else form(trial.optimizer))

    def check(self, trial: Trial, dataset: Dataset) -> None:
        """Accept any trial."""

    def stretch(self, problem: Problem) -> int:
        """Return how many steps to do at a time."""
        steps, multiplications = _HOST_STRETCH if is_numpy_array(problem.like) else _DEVICE_STRETCH
        image = problem.model.multiplications(problem.dataset.image_shape, len(problem.dataset.classes))
        step = image * problem.minibatches.batch_size * len(problem.trials)
        return max(1, min(steps, multiplications // step))

    def bytes_per_trial(self, trial: Trial, sizes: Sizes) -> int:
        """Return the bytes of the trial's descent; a device updates all rows at once."""
        descent = _descent(trial)
        temporaries = descent.temporaries(sizes) * sizes.weights if sizes.on_device else 0
        return descent.bytes_per_trial(trial, sizes, steps=_most_steps(trial, sizes)) + temporaries

    def fixed_bytes(self, trial: Trial, sizes: Sizes) -> int:
        """Return the bytes of an update of cache-sized rows; on a device, of the indices of all minibatches."""
        if not sizes.on_device:
            return _descent(trial).temporaries(sizes) * CACHED_BYTES
        ordered = _most_steps(trial, sizes) * sizes.examples_a_step * np.dtype(np.int64).itemsize
        return ordered * (_descent(trial).in_place and sizes.examples_a_step < sizes.train)

    def work(self, trials: Sequence[Trial], examples: int) -> Work:
        """Return a forward and a backward pass a trial."""
        del examples
        return Work(readings=1, passes=2 * len(trials))

    def init(self, problem: Problem) -> State:
        """Return the initial weights and the optimiser's state."""
        return _descent(problem.trials[0]).init(problem, initial_weights(problem, usual=_INITIAL_SCALE))

    def advance(self, problem: Problem, state: State, start: int, stop: int) -> tuple[State, Measured]:
        """Do steps ``start + 1`` to ``stop``.

        The measures include ``gradient_norm`` and ``update_ratio``, the norm of the update over the norm of the updated
        weights. They are computed every ``record_every`` steps and NaN at the others.
        """
        steps = range(start + 1, stop + 1)
        descent = _descent(problem.trials[0])(problem, state, steps)
        on_device = descent.in_place and not is_numpy_array(problem.like)
        step_of = (Replayed(descent, problem.like) if on_device else descent).step
        measures, norms, recorded = [], [], []
        for number, step in enumerate(steps):
            # Only at the steps of the curve's points: at every step they would cost some percent of it.
            wanted = step % problem.trials[0].record_every == 0
            of_step, norms_of_step = step_of(number, norms=wanted)
            measures.append(of_step)
            if wanted:
                norms.append(norms_of_step)
                recorded.append(number)
        of_norms = np.full((2, len(steps), len(problem.trials)), np.nan)
        if recorded:
            of_norms[:, recorded] = _columns(norms)
        columns = [*_columns(measures), *of_norms]
        return descent.state(), dict(zip((*MEASURES, "gradient_norm", "update_ratio"), columns, strict=True))


def _descent(trial: Trial) -> type[Descent]:
    """Return the fastest descent that the trial's update rule allows; `PlainDescent` takes any."""
    if trial.clip is not None or not trial.optimizer.elementwise:
        return PlainDescent
    if trial.optimizer.plain:
        return ScaledDescent
    return RowDescent


def _most_steps(trial: Trial, sizes: Sizes) -> int:
    """Return the most steps that the trial does at a time."""
    longest, _ = _DEVICE_STRETCH if sizes.on_device else _HOST_STRETCH
    return min(longest, trial.steps, trial.evaluate_every)


def _columns(measured: Sequence[Sequence[Array]]) -> list[np.ndarray]:
    """Return the measures of the steps as arrays ``(S, K)``, with one copy from a device for each."""
    return [host(array_namespace(*column).stack(column)) for column in zip(*measured, strict=True)]
