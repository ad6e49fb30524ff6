"""task=landscape: the loss along a ray ``W + a V1`` or over a plane ``W + a V1 + b V2``, in score space."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from array_api_compat import array_namespace

from tasks.datasets.dataset import Dataset
from tasks.devices import HOST, in_precision
from tasks.errors import require, unknown_choice
from tasks.events import Checkpoint, Event, Outcome, Result
from tasks.grid import along_row, over_grid
from tasks.models.model import ScoreLinear
from tasks.points import (
    UNTRAINED,
    check_examples,
    chosen_examples,
    gaussian,
    objective_values,
    require_examples,
    require_scale,
)
from tasks.problem import Batch, Problem, total
from tasks.score_space import landscape as score_space
from tasks.train import Train

if TYPE_CHECKING:
    from tasks.trial import Trial

AROUND = ("random", "trained")


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape:
    """Slice the loss along one random direction, or two, through random or trained weights.

    ``a`` (and ``b``) take ``resolution`` values from ``-extent`` to ``extent``. The loss is the mean over
    ``examples`` training examples drawn by ``data_seed``, None for all. Random weights are
    ``weights_scale * N(0, 1)``; trained ones are what the trial's own strategy makes of its steps.
    Directions are ``direction_scale * N(0, 1)``. A scale None is the one at which the scores of a training image
    are about 1: a step of 1 in ``a`` then moves the scores by about a margin, on any data set (`natural_scale`).
    Source: the notes, "Visualizing the Loss Function".
    """

    dimensions: int = 2
    extent: float = 5.0
    resolution: int = 101
    examples: int | None = None
    around: str = "random"
    weights_scale: float | None = None
    direction_scale: float | None = None

    def __post_init__(self) -> None:
        require(self.dimensions in {1, 2}, "task.dimensions", "must be 1 or 2", self.dimensions)
        require(self.extent > 0, "task.extent", "must be > 0", self.extent)
        require(self.resolution >= 2, "task.resolution", "must be >= 2", self.resolution)
        require_examples(self.examples)
        if self.around not in AROUND:
            raise unknown_choice("task.around", self.around, AROUND)
        require_scale("task.weights_scale", self.weights_scale, zero=True)
        require_scale("task.direction_scale", self.direction_scale)

    def unused(self, trial: Trial) -> frozenset[str]:
        """Return what only training uses where nothing is trained, and the order of the examples where all are seen."""
        unused = Train().unused(trial) if self.around == "trained" else UNTRAINED | {"data_seed"}
        return unused if self.examples is None else unused - {"data_seed"}

    def fusion_key(self, trial: Trial) -> tuple[Any, ...]:
        """Return the trial itself: a landscape is a group of its own, its points are its trial axis."""
        return (trial,)

    def check(self, trial: Trial, dataset: Dataset) -> None:
        """Refuse more examples than there are, and what training refuses where the weights are trained."""
        check_examples(self.examples, dataset)
        if self.around == "trained":
            Train().check(trial, dataset)

    def run(
        self,
        trials: Sequence[Trial],
        dataset: Dataset,
        *,
        threads: int,
        start: Checkpoint | None = None,  # noqa: ARG002  # a landscape makes no checkpoints
        checkpoint_every: int | None = None,  # noqa: ARG002
        like: Any = HOST,
    ) -> Iterator[Event]:
        """Yield, for each trial, the curves of its training (if any) and a result with the landscape's arrays.

        They are ``a`` ``(A,)``, for a plane ``b`` ``(B,)``, and ``data_loss`` and ``regularization_loss``,
        ``(A,)`` or ``(B, A)``; and the ``weights`` in the middle.
        """
        for place, trial in enumerate(trials):
            task = trial.task
            assert isinstance(task, Landscape)
            problem = Problem.of([trial], dataset, like=in_precision(like, "float32"), threads=threads)
            ending = Result(trial=place, outcome=Outcome.COMPLETE, step=0, metrics={})
            if task.around == "trained":
                ending = yield from _trained(problem, place)
                if ending.outcome is not Outcome.COMPLETE:
                    yield ending
                    continue
                weights = np.concatenate([ending.arrays[name].ravel() for name in problem.shapes])
            else:
                weights = gaussian(problem, "initial weights", scale=task.weights_scale)
            yield _surveyed(task, problem, weights, ending)


def _trained(problem: Problem, place: int) -> Generator[Event, None, Result]:
    """Train, yield the curves and return the result."""
    training = Train().run(problem.trials, problem.dataset, threads=problem.threads, like=problem.like)
    for event in training:
        assert not isinstance(event, Checkpoint)
        ours = dataclasses.replace(event, trial=place)
        if isinstance(ours, Result):
            return ours
        yield ours
    raise AssertionError("every trial ends in a result")


def _surveyed(task: Landscape, problem: Problem, weights: np.ndarray, ending: Result) -> Result:
    """Return the ending with the landscape about the weights."""
    a = np.linspace(-task.extent, task.extent, task.resolution)
    b = a if task.dimensions == 2 else np.zeros(1)
    directions = [gaussian(problem, "directions", k, scale=task.direction_scale) for k in range(task.dimensions)]
    points = np.stack([weights, *directions])
    batch = chosen_examples(problem, task.examples)
    data_loss = data_losses(problem, points, a, b, batch)
    regularization_loss = regularization_losses(problem, points, a, b)
    loss = data_loss + regularization_loss
    arrays = {"a": a, "b": b, "data_loss": data_loss, "regularization_loss": regularization_loss}
    if task.dimensions == 1:
        arrays = {"a": a, "data_loss": data_loss[0], "regularization_loss": regularization_loss[0]}
    extremes = {"landscape/lowest_loss": float(loss.min()), "landscape/highest_loss": float(loss.max())}
    return dataclasses.replace(
        ending, metrics={**ending.metrics, **extremes}, arrays=arrays | problem.named(np.asarray(weights))
    )


def data_losses(problem: Problem, points: np.ndarray, a: np.ndarray, b: np.ndarray, batch: Batch) -> np.ndarray:
    """Return the mean data loss at ``W + a V1 + b V2``, float64 ``(B, A)``; points are W, V1 (and V2), ``(2|3, P)``."""
    if isinstance(problem.model, ScoreLinear):
        return score_space.data_losses(problem, points, a, b, batch)
    weights = problem.array(points)

    def losses(row: float, columns: np.ndarray) -> Any:
        values = [objective_values(problem, some, batch)[0] for some in along_row(weights, row, columns)]
        return array_namespace(weights).concat(values)

    return over_grid(problem, losses, a, b)


def regularization_losses(problem: Problem, points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the regularization loss at ``W + a V1 + b V2``, float64 ``(B, A)``."""
    trial, weights = problem.trials[0], problem.array(points)
    if trial.regularization == 0:
        return np.zeros((len(b), len(a)))
    xp = array_namespace(weights)

    def penalties(row: float, columns: np.ndarray) -> Any:
        parts = []
        for some in along_row(weights, row, columns):  # (M, P) each
            matrices = [xp.sum(trial.regularizer.penalty(matrix), axis=-1) for matrix in problem.matrices(some)]
            parts.append(total(matrices))
        return xp.concat(parts)

    return trial.regularization * over_grid(problem, penalties, a, b)
