"""task=landscape: the loss along a ray ``W + a V1`` or over a plane ``W + a V1 + b V2``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.arrays.devices import as_numpy, in_precision
from tasks.datasets.dataset import Dataset
from tasks.errors import require, require_choice
from tasks.events import Checkpoint, Curve, Event, Outcome, Result
from tasks.fused.batches import Batch
from tasks.fused.parallel import total
from tasks.fused.problem import Problem
from tasks.models.model import ScoreLinear
from tasks.score_space import landscape as score_space
from tasks.studies.study import TRAINING_FIELDS, Study, require_examples, require_scale
from tasks.studies.train import Train
from tasks.weight_space.directions import Plane, drawn, plane_of_path, row_by_row
from tasks.weight_space.grid import along_row, over_grid
from tasks.weight_space.points import chosen_examples, gaussian, objective_values, points_at_once

if TYPE_CHECKING:
    from tasks.trial import Trial

AROUND = ("random", "trained")
DIRECTIONS = ("gaussian", "filter", "path")

# The default extent, in units of the directions; for a path, in units of half its length.
_EXTENT = {"gaussian": 5.0, "filter": 1.0, "path": 2.0}

# The most numbers in all points of a path: 1 GiB in float64, and as much for each of a few copies.
_MOST_NUMBERS = 2**27


@dataclass(frozen=True, slots=True, kw_only=True)
class Landscape(Study):
    """Slice the loss along one or two directions (``dimensions``), ``around`` random or trained weights.

    ``a`` (and ``b``) take ``resolution`` values from ``-extent`` to ``extent``. The loss is the mean over
    ``examples`` training examples drawn by ``data_seed``, None for all. Random weights are
    ``weights_scale`` times the model's draw; trained weights are the end of a training by the trial's strategy.

    ``directions=gaussian`` are ``direction_scale`` times the model's draw. A scale None is the one at which the scores
    of a training image are about 1 (`natural_scale`): a step of 1 in ``a`` then moves the scores of a linear model
    by about a margin, on any data set. With ``directions=filter`` each row (the weights of a unit or a filter) has
    ``direction_scale`` (None: 1) times the norm of that row of the weights. ``directions=path`` are the principal
    components of a training's path, its weights at every ``evaluate_every`` steps; then the axes ``a`` and ``b`` are
    centred on the path and ``extent`` times as long. An extent None is 5 for gaussian, 1 for filter and 2 for a path.
    Source: the notes, "Visualizing the Loss Function"; Li et al. 2018, "Visualizing the Loss Landscape of Neural Nets".
    """

    dimensions: int = 2
    extent: float | None = None
    resolution: int = 101
    examples: int | None = None
    around: str = "random"
    weights_scale: float | None = None
    directions: str = "gaussian"
    direction_scale: float | None = None

    def __post_init__(self) -> None:
        require(self.dimensions in {1, 2}, "task.dimensions", "must be 1 or 2", self.dimensions)
        require(self.extent is None or self.extent > 0, "task.extent", "must be > 0, or null", self.extent)
        require(self.resolution >= 2, "task.resolution", "must be >= 2", self.resolution)
        require_examples(self.examples)
        require_choice("task.around", self.around, AROUND)
        require_choice("task.directions", self.directions, DIRECTIONS)
        require_scale("task.weights_scale", self.weights_scale, zero=True)
        require_scale("task.direction_scale", self.direction_scale)

    def unused(self, trial: Trial) -> frozenset[str]:
        """Return the fields without influence: those of training for random weights, ``data_seed`` for all examples."""
        unused = Train().unused(trial) if self.around == "trained" else TRAINING_FIELDS | {"data_seed"}
        return unused if self.examples is None else unused - {"data_seed"}

    def check(self, trial: Trial, dataset: Dataset) -> None:
        """Refuse more examples than there are, a path without a training, and what training and the model refuse."""
        Study.check(self, trial, dataset)
        require(len(dataset.classes) > 1, "dataset", "must have at least two classes for a landscape", dataset.classes)
        if self.around == "trained":
            Train().check(trial, dataset)
        if self.directions == "path":
            rule = "must be trained for task.directions=path: random weights have no path"
            require(self.around == "trained", "task.around", rule, self.around)
            rule = "must be null for task.directions=path, whose directions have length 1"
            require(self.direction_scale is None, "task.direction_scale", rule, self.direction_scale)
            rule = f"must be below steps ({trial.steps}) for the plane of a path, which takes three points"
            short = self.dimensions == 2 and trial.evaluate_every >= trial.steps
            require(not short, "trial.evaluate_every", rule, trial.evaluate_every)
            shapes = trial.model.shapes(dataset.image_shape, len(dataset.classes))
            size = sum(math.prod(shape) for shape in shapes.values())
            rule = f"must be larger for task.directions=path: {trial.steps} steps would have more points of {size:,}"
            rule += f" weights than memory should hold ({_MOST_NUMBERS // size:,})"
            fits = (trial.steps // trial.evaluate_every + 2) * size <= _MOST_NUMBERS
            require(fits, "trial.evaluate_every", rule, trial.evaluate_every)

    def study(self, trial: Trial, dataset: Dataset, *, threads: int, like: Array) -> Iterator[Event]:
        """Yield the curves of the training (if any) and a result with the landscape's arrays.

        They are ``a`` ``(A,)``, for a plane ``b`` ``(B,)``, and ``data_loss`` and ``regularization_loss``,
        ``(A,)`` or ``(B, A)``; the parameters at ``a = b = 0`` by name; and for ``directions=path`` the ``path``
        ``(S, 1)`` or ``(S, 2)`` in the coordinates ``a`` and ``b``, with the steps of its points ``path_steps``
        ``(S,)``.
        """
        problem = Problem.of([trial], dataset, like=in_precision(like, "float32"), threads=threads)
        if self.around == "trained":
            path, result = yield from _train(problem, every_point=self.directions == "path")
        else:
            path = [gaussian(problem, "initial weights", scale=self.weights_scale)]
            result = Result(trial=0, outcome=Outcome.COMPLETE, step=0, metrics={})
        yield _with_landscape(self, problem, path, result) if result.outcome is Outcome.COMPLETE else result


def _train(problem: Problem, *, every_point: bool) -> Generator[Event, None, tuple[list[np.ndarray], Result]]:
    """Train, yield the curves and return the path (its last point, or that of every evaluation) and the result."""
    trial, path = problem.trials[0], []
    if every_point:
        path = [as_numpy(trial.strategy.init(problem)["weights"])[0].copy()]
    training = Train().run(
        problem.trials,
        problem.dataset,
        threads=problem.threads,
        checkpoint_every=trial.evaluate_every if every_point else None,
        like=problem.like,
    )
    for event in training:
        if isinstance(event, Checkpoint):
            path.append(event.arrays["weights"][0].copy())
            continue
        assert isinstance(event, Curve | Result), "a training without `until` does not pause"
        if isinstance(event, Result):
            if event.outcome is Outcome.COMPLETE:
                path.append(np.concatenate([event.arrays[name].ravel() for name in problem.shapes]))
            return path, event
        yield event
    raise AssertionError("every trial ends in a result")


def _with_landscape(task: Landscape, problem: Problem, path: Sequence[np.ndarray], result: Result) -> Result:
    """Return the result with the landscape around the last point of the path."""
    weights, plane = path[-1], _plane(task, problem, path)
    a, b = (*plane.axes, np.zeros(1))[:2]
    points = np.stack([weights, *plane.directions])
    batch = chosen_examples(problem, task.examples)
    data_loss = data_losses(problem, points, a, b, batch)
    regularization_loss = regularization_losses(problem, points, a, b)
    # A point may be so far that a network's scores overflow.
    data_loss = np.where(np.isnan(data_loss), np.inf, data_loss)
    loss = data_loss + regularization_loss
    arrays = {"a": a, "b": b, "data_loss": data_loss, "regularization_loss": regularization_loss}
    if task.dimensions == 1:
        arrays = {"a": a, "data_loss": data_loss[0], "regularization_loss": regularization_loss[0]}
    metrics = {"landscape/lowest_loss": float(loss.min()), "landscape/highest_loss": float(loss.max())}
    message = result.message
    if plane.path is not None and plane.shares is not None:
        every = problem.trials[0].evaluate_every
        steps = np.minimum(every * np.arange(len(path)), problem.trials[0].steps)
        arrays |= {"path": plane.path, "path_steps": steps}
        metrics |= {f"landscape/path_variance_{k}": float(share) for k, share in enumerate(plane.shares, start=1)}
        shares = " and ".join(f"{100 * share:.1f} %" for share in plane.shares)
        have = "directions have" if task.dimensions == 2 else "direction has"
        message = f"the {have} {shares} of the variance of the path's {len(path)} points"
    return dataclasses.replace(
        result,
        metrics={**result.metrics, **metrics},
        arrays=arrays | problem.named(np.asarray(weights)),
        message=message,
    )


def _plane(task: Landscape, problem: Problem, path: Sequence[np.ndarray]) -> Plane:
    """Return the directions of a landscape and its axes."""
    extent = _EXTENT[task.directions] if task.extent is None else task.extent
    if task.directions == "path":
        return plane_of_path(np.stack(path), task.dimensions, extent=extent, resolution=task.resolution)
    if task.directions == "filter":
        directions = row_by_row(problem, path[-1], task.dimensions, scale=task.direction_scale)
    else:
        directions = drawn(problem, task.dimensions, scale=task.direction_scale)
    axis = np.linspace(-extent, extent, task.resolution)
    return Plane(directions=directions, axes=[axis] * task.dimensions)


def data_losses(problem: Problem, points: np.ndarray, a: np.ndarray, b: np.ndarray, batch: Batch) -> np.ndarray:
    """Return the mean data loss at ``W + a V1 + b V2``, float64 ``(B, A)``; points are W, V1 (and V2), ``(2|3, P)``."""
    if isinstance(problem.model, ScoreLinear):
        return score_space.data_losses(problem, points, a, b, batch)
    weights, count = problem.array(points), points_at_once(problem, batch)
    alone = dataclasses.replace(problem, threads=1)  # the threads share the points instead

    def losses(row: Array, columns: Array) -> Array:
        parts = along_row(weights, row, columns, count=count)
        return array_namespace(weights).concat([objective_values(alone, some, batch)[0] for some in parts])

    return over_grid(problem, losses, a, b)


def regularization_losses(problem: Problem, points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the regularization loss at ``W + a V1 + b V2``, float64 ``(B, A)``."""
    trial, weights = problem.trials[0], problem.array(points)
    if trial.regularization == 0:
        return np.zeros((len(b), len(a)))
    xp = array_namespace(weights)

    def penalties(row: Array, columns: Array) -> Array:
        parts = []
        for some in along_row(weights, row, columns):  # (M, P) each
            matrices = [xp.sum(trial.regularizer.penalty(matrix), axis=-1) for matrix in problem.matrices(some)]
            parts.append(total(matrices))
        return xp.concat(parts)

    return trial.regularization * over_grid(problem, penalties, a, b)
