"""Two gradients compared coordinate by coordinate: their relative errors, and the verdict of a gradient check."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.events import Outcome, Result
from tasks.weight_space.slopes import Slopes

# CS231n's thresholds: above 1e-2 the gradient is probably wrong, above 1e-4 it is doubtful.
WRONG, DOUBTFUL, GOOD = 1e-2, 1e-4, 1e-7

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


def verdict(h: float, layers: Mapping[str, Compared]) -> Result:
    """Return the result: its arrays have the shape of a single layer, or are flat for several layers."""
    compared = Compared.joined(list(layers.values()))
    errors, smooth, places = compared.errors, compared.smooth, compared.places.reshape(2, -1)
    largest = compared.largest_error()
    order = np.argsort(np.where(smooth, errors, -1.0), axis=None)[::-1][:_WORST]
    failed = not np.isfinite(errors).all() or largest > DOUBTFUL or not smooth.any()
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
    grade = _grade(largest) if smooth.any() else "nothing compared, as the loss has a kink at every coordinate"
    flat = [name for name, one in layers.items() if not (one.analytic.any() or one.slopes.centred.any())]
    dead = f"; both gradients are 0 at every coordinate of {', '.join(flat)}" if flat else ""
    where = ""
    if len(layers) > 1:
        for name, layer in layers.items():
            metrics[f"gradient_check/{name}/largest_relative_error"] = layer.largest_error()
            arrays[_COORDINATES + name] = layer.places.reshape(2, -1).T
        numbers = np.repeat(np.arange(len(layers)), [layer.errors.size for layer in layers.values()])
        arrays["worst_layer"] = numbers[order]
        where = f" (in {list(layers)[numbers[order[0]]]})"
    return Result(
        trial=0,
        outcome=Outcome.FAILED if failed else Outcome.COMPLETE,
        step=1,
        metrics=metrics,
        arrays=arrays,
        message=f"{grade}: largest relative error {largest:.2g}{where} over {shares} (h = {h:g}){dead}",
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
    if math.isnan(largest) or largest > WRONG:
        return "wrong"
    if largest > DOUBTFUL:
        return "doubtful"
    return "good" if largest <= GOOD else "passes"
