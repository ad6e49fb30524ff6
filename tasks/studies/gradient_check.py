"""task=gradient_check: the analytic gradient against the numerical one; coordinates with kinks count separately."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tasks.arrays.array import Array
from tasks.arrays.devices import HOST, host, in_precision
from tasks.arrays.random_streams import stream
from tasks.datasets.dataset import Dataset
from tasks.errors import require, require_choice
from tasks.events import Event
from tasks.fused.batches import Batch
from tasks.fused.problem import Problem
from tasks.models.model import ScoreLinear
from tasks.score_space import slopes as score_space
from tasks.studies.compared_gradients import Compared, verdict
from tasks.studies.study import Study, require_examples
from tasks.weight_space import slopes as plain_slopes
from tasks.weight_space.points import chosen_examples, gradient_at

if TYPE_CHECKING:
    from tasks.trial import Trial

VARIABLES = ("weights", "data")

# The default step of a weight moves a score by at most this much: the differences of a smooth loss are then right to
# eight digits, whatever the range of the pixels.
_SCORE_STEP = 1e-4
# The default step of a pixel (0 to 255); a tenth of it for a network, whose layers amplify it more than small weights.
_PIXEL_STEP = 1e-2
# The default step of a network's other features and scaled pixels: their numbers are of order 1.
_FEATURE_STEP = 1e-4

# The default scale of the weights of a linear model on raw pixels.
_SCALE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientCheck(Study):
    """Check the gradient by ``variable`` in float64, at ``scale`` times the model's draw, with centred differences.

    The loss is the mean over ``examples`` training examples (null: all; few examples have few kinks). The step
    ``h`` null is 1e-4 over the largest input for a weight, 1e-2 for an input of a linear model (less for a ``scale``
    above 1e-3, in proportion), and for an input of a network 1e-3 if it is a pixel that is not scaled, else 1e-4.
    ``scale`` null is 1e-3, for a network 1. With ``variable=data`` each pixel of each example is a coordinate.

    All coordinates that the scores are linear in are checked: all of a linear model, the last layer of a network. Each
    of the others takes evaluations of its own, so ``coordinates`` of them are drawn in every layer, or pixels in every
    example (null: all). The trial fails if a coordinate without a kink has a relative error above 1e-4.
    Source: the notes, "gradient check"; thresholds: CS231n, "Gradient checks".
    """

    variable: str = "weights"
    examples: int | None = 50
    h: float | None = None
    scale: float | None = None
    coordinates: int | None = 50

    def __post_init__(self) -> None:
        require_choice("task.variable", self.variable, VARIABLES)
        require_examples(self.examples)
        require(self.h is None or self.h > 0, "task.h", "must be > 0, or null", self.h)
        require(self.scale is None or self.scale > 0, "task.scale", "must be > 0, or null", self.scale)
        count = self.coordinates
        require(count is None or count >= 1, "task.coordinates", "must be >= 1, or null for all", count)

    def unused(self, trial: Trial) -> frozenset[str]:
        """Return the fields of training, ``data_seed`` where all examples are used, and for data those of a penalty."""
        unused = Study.unused(self, trial)
        return unused if self.variable == "weights" else unused | {"regularizer", "regularization"}

    def study(self, trial: Trial, dataset: Dataset, *, threads: int, like: Array) -> Iterator[Event]:
        """Compare both gradients and yield the verdict.

        The arrays of a single layer have its shape, ``(C, D)`` for weights or ``(N, D)`` for data. Those of several
        layers are flattened and concatenated, with the rows and columns of each layer in ``coordinates/LAYER``
        ``(M, 2)``. ``worst`` ``(W, 2)`` are the places of the largest errors, ``worst_layer`` ``(W,)`` the numbers of
        their layers.
        """
        # The gradient under test is computed on the device, the numerical one on the host.
        checked, plain = (
            Problem.of([trial], dataset, like=in_precision(where, "float64"), threads=threads) for where in (like, HOST)
        )
        compare = self._compare_weights if self.variable == "weights" else self._compare_data
        h = self.h or self._step(trial, plain.dataset)  # a worker's own data set is on its device
        yield verdict(h, compare(checked, plain, h))

    def _step(self, trial: Trial, dataset: Dataset) -> float:
        """Return the default step, on data of the host."""
        images, scale = dataset.train.images, dataset.scale
        grey_levels = images.dtype == np.uint8 and scale is None
        if self.variable == "data" and isinstance(trial.model, ScoreLinear):
            return _PIXEL_STEP * min(1.0, _SCALE / (self.scale or _SCALE))  # larger weights amplify it
        if self.variable == "data":
            return _PIXEL_STEP / 10 if grey_levels else _FEATURE_STEP
        if grey_levels:
            return _SCORE_STEP / max(1.0, float(images.max()))
        # Each other feature or scaled pixel has a range of its own.
        largest = np.maximum(dataset.mean - images.min(axis=0), images.max(axis=0) - dataset.mean)
        return _SCORE_STEP / max(1.0, float((largest * (1 if scale is None else scale)).max()))

    def _compare_weights(self, checked: Problem, plain: Problem, h: float) -> Mapping[str, Compared]:
        """Compare the gradients of the whole loss (data and regularization) by the weights, layer by layer."""
        point, batch = self._point_and_batch(plain)
        analytic = checked.matrices(host(gradient_at(checked, *self._point_and_batch(checked)))[0])
        *hidden, last = plain.shapes
        # Networks on raw pixels have scores of tens or hundreds, whose rounding matters; so may a linear model.
        rounded = hidden or self._is_above_usual_scale
        resolution = plain_slopes.resolution(plain, point[0], batch, h=h).mean() if rounded else 0.0
        compared, first = {}, 0
        for number, name in enumerate(hidden):
            size, columns = analytic[number].size, plain.shapes[name][1]
            chosen = self._drawn(plain, size, number)
            slopes = plain_slopes.by_weights(plain, point[0], batch, first + chosen, h=h)
            places = np.stack(np.divmod(chosen, columns))
            compared[name] = Compared.of(analytic[number].ravel()[chosen], slopes, places, resolution=resolution)
            first += size
        slopes, places = score_space.by_last_layer(plain, point[0], batch, h=h), np.indices(analytic[-1].shape)
        return compared | {last: Compared.of(analytic[-1], slopes, places, resolution=resolution)}

    def _compare_data(self, checked: Problem, plain: Problem, h: float) -> Mapping[str, Compared]:
        """Compare the gradients of each example's loss by its pixels."""
        point, batch = self._point_and_batch(plain)
        analytic = _data_gradient(checked, *self._point_and_batch(checked))  # (N, D)
        linear = _is_linear_in_data(plain, point, batch)
        rounded = not linear or self._is_above_usual_scale
        resolution = plain_slopes.resolution(plain, point[0], batch, h=h)[:, None] if rounded else 0.0
        if linear:
            slopes = score_space.by_data(plain, point[0], batch, h=h)
            return {"data": Compared.of(analytic, slopes, np.indices(analytic.shape), resolution=resolution)}
        chosen = np.stack([self._drawn(plain, analytic.shape[1], n) for n in range(len(batch))])
        slopes = plain_slopes.by_data(plain, point[0], batch, chosen, h=h)
        examples = np.broadcast_to(np.arange(len(batch))[:, None], chosen.shape)
        analytic, places = np.take_along_axis(analytic, chosen, axis=1), np.stack([examples, chosen])
        return {"data": Compared.of(analytic, slopes, places, resolution=resolution)}

    def _point_and_batch(self, problem: Problem) -> tuple[Array, Batch]:
        """Return the weights ``(1, P)`` and the examples at which the gradients are compared."""
        scale = problem.model.initial_scale(_SCALE) if self.scale is None else self.scale
        return problem.initial_weights([scale]), chosen_examples(problem, self.examples)

    @property
    def _is_above_usual_scale(self) -> bool:
        """Whether the weights are so large that a linear model's scores are, too."""
        return (self.scale or 0) > _SCALE

    def _drawn(self, problem: Problem, count: int, number: int) -> np.ndarray:
        """Return which of the ``count`` coordinates of a layer or an example, by its number, to check, ascending."""
        if self.coordinates is None or self.coordinates >= count:
            return np.arange(count)
        chosen = stream(problem.trials[0].seed, "coordinates", number)
        return np.sort(chosen.choice(count, size=self.coordinates, replace=False))


def _is_linear_in_data(problem: Problem, weights: Array, batch: Batch) -> bool:
    """Return whether scores are linear in the pixels, too: the features themselves are the inputs of the last layer."""
    arrangement, features = problem.arrange(batch), problem.features(batch.blocks(problem.block)[0].images)
    return np.array_equal(arrangement.last_layer_inputs(arrangement.rows(weights), features)[0], features)


def _data_gradient(problem: Problem, weights: Array, batch: Batch) -> np.ndarray:
    """Return the analytic gradient of each example's loss by its features, without the bias, ``(N, D)``."""
    arrangement, loss = problem.arrange(batch), problem.trials[0].loss
    rows = arrangement.rows(weights)

    def gradient(features: Array, labels: Array) -> np.ndarray:
        _, slope = loss.losses_and_gradient(arrangement.scores(rows, features), labels)
        return np.asarray(host(arrangement.data_gradient(rows, features, slope))[0])

    return np.concatenate(problem.over_blocks(batch, gradient))
