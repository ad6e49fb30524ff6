"""The numerical gradient as the notes compute it: forward or centred differences of any function of a point."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from tasks.errors import require_choice

SCHEMES = ("forward", "centred")

ScalarFunction = Callable[[np.ndarray], float]


def numerical_gradient(
    objective: ScalarFunction,
    point: np.ndarray,
    *,
    h: float = 1e-5,
    scheme: str = "centred",
    coordinates: Iterable[tuple[int, ...]] | None = None,
) -> np.ndarray:
    """Return the slope of ``objective`` along every coordinate of ``point``, one or two evaluations each.

    ``coordinates`` are the indices to differentiate by, None for all; the others' slopes are NaN.
    The point is changed in place, one coordinate at a time, and each is restored exactly, even if the objective
    raises. Source: the notes, "Computing the gradient numerically with finite differences".

    >>> numerical_gradient(lambda x: float(x @ x), np.array([1.0, -2.0])).round(6)
    array([ 2., -4.])
    """
    require_choice("scheme", scheme, SCHEMES)
    gradient = np.full(point.shape, np.nan)
    here = objective(point) if scheme == "forward" else 0.0
    for index in np.ndindex(point.shape) if coordinates is None else coordinates:
        value = point[index]
        try:
            point[index] = value + h
            ahead = objective(point)
            if scheme == "forward":
                gradient[index] = (ahead - here) / h
            else:
                point[index] = value - h
                gradient[index] = (ahead - objective(point)) / (2 * h)
        finally:
            point[index] = value
    return gradient
