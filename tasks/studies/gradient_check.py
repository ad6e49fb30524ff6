"""task=gradient_check: the analytic gradient against the numerical one; coordinates with kinks count separately."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from tasks.arrays.array import Array
from tasks.arrays.devices import HOST, host, in_precision
from tasks.arrays.random_streams import stream
from tasks.datasets.dataset import Dataset
from tasks.errors import require, unknown_choice
from tasks.events import Checkpoint, Event, Outcome, Result
from tasks.fused.problem import Batch, Problem
from tasks.models.model import ScoreLinear
from tasks.score_space import slopes as score_space
from tasks.weight_space import slopes as plain_slopes
from tasks.weight_space.points import TRAINING_FIELDS, check_examples, chosen_examples, gradient_at, require_examples
from tasks.weight_space.slopes import Slopes

if TYPE_CHECKING:
    from tasks.trial import Trial

# CS231n's thresholds: above 1e-2 the gradient is probably wrong, above 1e-4 it is doubtful.
WRONG, DOUBTFUL, GOOD = 1e-2, 1e-4, 1e-7

VARIABLES = ("weights", "data")

# The default step of a weight moves a score by at most this much: the differences of a smooth loss are then right to
# eight digits, whatever the range of the pixels.
_SCORE_STEP = 1e-4
# The default step of a pixel (0 to 255); a tenth of it for a network, whose layers amplify it more than small weights.
_PIXEL_STEP = 1e-2

# The default scale of the weights of a linear model on raw pixels.
_SCALE = 1e-3

_WORST = 10

# The prefix of the arrays of coordinates; a layer's name follows.
_COORDINATES = "coordinates/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Both gradients by some coordinates of a layer, of one shape, and the coordinates' ``places`` ``(2, ...)``.

    The place of a weight is a row and a column of its layer's matrix, that of a pixel an example and an index in it.
    """

    analytic: np.ndarray
    slopes: Slopes
    errors: np.ndarray
    places: np.ndarray

    @classmethod
    def of(
        cls, analytic: np.ndarray, slopes: Slopes, places: np.ndarray, *, resolution: float | np.ndarray = 0.0
    ) -> Compared:
        """Return the comparison with its relative errors; ``resolution`` is the error of the slopes."""
        errors = relative_error(analytic, slopes.centred, resolution=resolution)
        return cls(analytic=analytic, slopes=slopes, errors=errors, places=places)

    @classmethod
    def joined(cls, layers: Sequence[Compared]) -> Compared:
        """Return the comparison of all layers: a single layer's as it is, several flattened and concatenated."""
        if len(layers) == 1:
            return layers[0]
        return cls(
            analytic=np.concatenate([layer.analytic.ravel() for layer in layers]),
            slopes=Slopes.joined(Slopes(*(array.ravel() for array in layer.slopes)) for layer in layers),
            errors=np.concatenate([layer.errors.ravel() for layer in layers]),
            places=np.concatenate([layer.places.reshape(2, -1) for layer in layers], axis=1),
        )

    @property
    def smooth(self) -> np.ndarray:
        """Whether each coordinate has no kink within a step."""
        return np.asarray(self.slopes.kinks == 0)

    def largest_error(self) -> float:
        """Return the largest relative error of a coordinate without a kink."""
        return float(self.errors[self.smooth].max(initial=0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientCheck:
    """Check the gradient by ``variable`` in float64, at ``scale`` times the model's draw, with centred differences.

    The loss is the mean over ``examples`` training examples (null: all; few examples have few kinks). ``h`` is the
    step (null: 1e-4 over the largest input for a weight; 1e-2 for a pixel, 1e-3 for a pixel of a network). ``scale``
    null is 1e-3, for a network 1. With ``variable=data`` each pixel of each example is a coordinate.

    All coordinates that the scores are linear in are checked: all of a linear model, the last layer of a network. Each
    of the others takes evaluations of its own, so ``coordinates`` of them are drawn in every layer, or pixels in every
    example (null: all). The trial fails if a coordinate without a kink has a relative error above 1e-4.
    Source: the notes, "gradient check"; thresholds: CS231n, "Gradient checks".
    """

    trains: ClassVar[bool] = False
    needs_data: ClassVar[bool] = True

    variable: str = "weights"
    examples: int | None = 50
    h: float | None = None
    scale: float | None = None
    coordinates: int | None = 50

    def __post_init__(self) -> None:
        if self.variable not in VARIABLES:
            raise unknown_choice("task.variable", self.variable, VARIABLES)
        require_examples(self.examples)
        require(self.h is None or self.h > 0, "task.h", "must be > 0, or null", self.h)
        require(self.scale is None or self.scale > 0, "task.scale", "must be > 0, or null", self.scale)
        count = self.coordinates
        require(count is None or count >= 1, "task.coordinates", "must be >= 1, or null for all", count)

    def unused(self, trial: Trial) -> frozenset[str]:
        """Return the fields of training, and ``data_seed`` where all examples are used."""
        del trial
        return TRAINING_FIELDS | ({"data_seed"} if self.examples is None else set())

    def _step(self, trial: Trial, dataset: Dataset) -> float:
        if self.variable == "data":
            return _PIXEL_STEP if isinstance(trial.model, ScoreLinear) else _PIXEL_STEP / 10
        images, low, high = dataset.train.images, 0.0, float(dataset.train.images.max())
        if images.dtype != np.uint8:  # features other than pixels have a range each
            low, high = images.min(axis=0), images.max(axis=0)
        largest = np.maximum(np.abs(low), np.abs(high))
        if dataset.scale is not None:
            largest = np.maximum(dataset.mean - low, high - dataset.mean) * dataset.scale
        return _SCORE_STEP / max(1.0, float(largest.max()))

    def fusion_key(self, trial: Trial) -> tuple[Hashable, ...]:
        """Return the trial itself: a check is never fused."""
        return (trial,)

    def check(self, trial: Trial, dataset: Dataset) -> None:
        """Refuse more examples than there are, and images that the model cannot take."""
        check_examples(self.examples, dataset)
        trial.model.check(dataset.image_shape)

    def run(
        self,
        trials: Sequence[Trial],
        dataset: Dataset,
        *,
        threads: int,
        start: Checkpoint | None = None,
        checkpoint_every: int | None = None,
        like: Array = HOST,
    ) -> Iterator[Event]:
        """Compare both gradients and yield the verdict.

        The arrays of a single layer have its shape, ``(C, D)`` for weights or ``(N, D)`` for data. Those of several
        layers are flattened and concatenated, with the rows and columns of each layer in ``coordinates/LAYER``
        ``(M, 2)``. ``worst`` ``(W, 2)`` are the places of the largest errors, ``worst_layer`` ``(W,)`` the numbers of
        their layers.
        """
        del start, checkpoint_every  # it takes seconds: it is repeated rather than resumed
        for k, trial in enumerate(trials):
            # The gradient under test is computed on the device, the numerical one on the host.
            checked, plain = (
                Problem.of(
                    [dataclasses.replace(trial, task=self)],
                    dataset,
                    like=in_precision(where, "float64"),
                    threads=threads,
                )
                for where in (like, HOST)
            )
            compare = _compare_weights if self.variable == "weights" else _compare_data
            h = self.h or self._step(trial, dataset)
            yield _verdict(k, h, compare(checked, plain, h))


def _compare_weights(checked: Problem, plain: Problem, h: float) -> Mapping[str, Compared]:
    """Compare the gradients of the whole loss (data and regularization) by the weights, layer by layer."""
    point, batch = _point_and_batch(plain)
    analytic = checked.matrices(host(gradient_at(checked, *_point_and_batch(checked)))[0])
    *hidden, last = plain.shapes
    # Networks on raw pixels have scores of tens or hundreds, whose rounding matters.
    resolution = plain_slopes.resolution(plain, point[0], batch, h=h).mean() if hidden else 0.0
    compared, first = {}, 0
    for number, name in enumerate(hidden):
        size, columns = analytic[number].size, plain.shapes[name][1]
        chosen = _drawn(plain, size, number)
        slopes = plain_slopes.by_weights(plain, point[0], batch, first + chosen, h=h)
        places = np.stack(np.divmod(chosen, columns))
        compared[name] = Compared.of(analytic[number].ravel()[chosen], slopes, places, resolution=resolution)
        first += size
    slopes = score_space.by_last_layer(plain, point[0], batch, h=h)
    return compared | {last: Compared.of(analytic[-1], slopes, np.indices(analytic[-1].shape), resolution=resolution)}


def _compare_data(checked: Problem, plain: Problem, h: float) -> Mapping[str, Compared]:
    """Compare the gradients of each example's loss by its pixels."""
    (point, batch), analytic = _point_and_batch(plain), _data_gradient(checked)  # (N, D)
    if isinstance(plain.model, ScoreLinear):
        slopes = score_space.by_data(plain, point[0], batch, h=h)
        return {"data": Compared.of(analytic, slopes, np.indices(analytic.shape))}
    chosen = np.stack([_drawn(plain, analytic.shape[1], n) for n in range(len(batch))])
    slopes = plain_slopes.by_data(plain, point[0], batch, chosen, h=h)
    examples = np.broadcast_to(np.arange(len(batch))[:, None], chosen.shape)
    resolution = plain_slopes.resolution(plain, point[0], batch, h=h)[:, None]
    analytic, places = np.take_along_axis(analytic, chosen, axis=1), np.stack([examples, chosen])
    return {"data": Compared.of(analytic, slopes, places, resolution=resolution)}


def _drawn(problem: Problem, count: int, *index: int) -> np.ndarray:
    """Return the coordinates to check, of ``count``, in ascending order: all, or as many as the task says."""
    check = problem.trials[0].task
    assert isinstance(check, GradientCheck)
    if check.coordinates is None or check.coordinates >= count:
        return np.arange(count)
    chosen = stream(problem.trials[0].seed, "coordinates", *index)
    return np.sort(chosen.choice(count, size=check.coordinates, replace=False))


def _point_and_batch(problem: Problem) -> tuple[Array, Batch]:
    """Return the weights ``(1, P)`` and the examples at which the gradients are compared."""
    check = problem.trials[0].task
    assert isinstance(check, GradientCheck)
    scale = problem.model.initial_scale(_SCALE) if check.scale is None else check.scale
    return problem.initial_weights([scale]), chosen_examples(problem, check.examples)


def _data_gradient(problem: Problem) -> np.ndarray:
    """Return the analytic gradient of each example's loss by its features, without the bias, ``(N, D)``."""
    weights, batch = _point_and_batch(problem)
    arrangement, loss = problem.arrange(batch), problem.trials[0].loss
    rows = arrangement.rows(weights)

    def gradient(features: Array, labels: Array) -> np.ndarray:
        _, slope = loss.losses_and_gradient(arrangement.scores(rows, features), labels)
        return np.asarray(host(arrangement.data_gradient(rows, features, slope))[0])

    return np.concatenate(problem.over_blocks(batch, gradient))


def relative_error(analytic: np.ndarray, numerical: np.ndarray, *, resolution: float | np.ndarray = 0.0) -> np.ndarray:
    """Return ``|a - n| / max(|a|, |n|)``, 0 where both are 0.

    The denominator is at least 1e-6 of the largest gradient, since smaller ones are lost in the rounding of the losses,
    and at least ``resolution`` over `DOUBTFUL`, so that an error of ``resolution`` is never doubtful.

    >>> relative_error(np.array([1.0, 0.0]), np.array([1.5, 0.0])).round(3)
    array([0.333, 0.   ])
    """
    size = np.maximum(np.abs(analytic), np.abs(numerical))
    floor = np.maximum(1e-6 * size.max(initial=0.0), resolution / DOUBTFUL)
    return np.asarray(np.abs(analytic - numerical) / np.maximum(np.maximum(size, floor), np.finfo(np.float64).tiny))


def _verdict(k: int, h: float, layers: Mapping[str, Compared]) -> Result:
    """Return the result: its arrays have the shape of a single layer, or are flat for several layers."""
    compared = Compared.joined(list(layers.values()))
    errors, smooth, places = compared.errors, compared.smooth, compared.places.reshape(2, -1)
    largest = compared.largest_error()
    order = np.argsort(np.where(smooth, errors, -1.0), axis=None)[::-1][:_WORST]
    failed = not np.isfinite(errors).all() or largest > DOUBTFUL
    shares = f"{int(smooth.sum())} coordinates without a kink, {int((~smooth).sum())} with"
    metrics = {
        "gradient_check/largest_relative_error": largest,
        "gradient_check/median_relative_error": float(np.median(errors[smooth])) if smooth.any() else 0.0,
        "gradient_check/largest_relative_error_at_kinks": float(errors[~smooth].max(initial=0.0)),
        "gradient_check/coordinates": float(errors.size),
        "gradient_check/coordinates_with_kinks": float((~smooth).sum()),
    }
    arrays = {
        "analytic": compared.analytic,
        "numerical": compared.slopes.centred,
        "slope_ahead": compared.slopes.ahead,
        "slope_behind": compared.slopes.behind,
        "relative_error": errors,
        "kinks": compared.slopes.kinks,
        "worst": places[:, order].T,
    }
    where = ""
    if len(layers) > 1:
        for name, layer in layers.items():
            metrics[f"gradient_check/{name}/largest_relative_error"] = layer.largest_error()
        for name, layer in layers.items():
            arrays[_COORDINATES + name] = layer.places.reshape(2, -1).T
        numbers = np.repeat(np.arange(len(layers)), [layer.errors.size for layer in layers.values()])
        arrays["worst_layer"] = numbers[order]
        where = f" (in {list(layers)[numbers[order[0]]]})"
    return Result(
        trial=k,
        outcome=Outcome.FAILED if failed else Outcome.COMPLETE,
        step=1,
        metrics=metrics,
        arrays=arrays,
        message=f"{_grade(largest)}: largest relative error {largest:.2g}{where} over {shares} (h = {h:g})",
    )


def layers_of(arrays: Mapping[str, np.ndarray]) -> dict[str, slice]:
    """Return each layer's slice of a result's flat arrays, by name: none for a single layer."""
    sizes = {name: len(array) for name, array in arrays.items() if name.startswith(_COORDINATES)}
    ends = itertools.accumulate(sizes.values())
    return {
        name.removeprefix(_COORDINATES): slice(end - size, end)
        for (name, size), end in zip(sizes.items(), ends, strict=True)
    }


def _grade(largest: float) -> str:
    if largest > WRONG:
        return "wrong"
    if largest > DOUBTFUL:
        return "doubtful"
    return "good" if largest <= GOOD else "fine where the loss has kinks, large for a smooth one"
