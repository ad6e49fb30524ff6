"""Directions of a landscape: random, random with normalised rows, or the main directions of a training's path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.arrays.random_streams import normal
from tasks.fused.problem import Problem
from tasks.weight_space.points import gaussian

# The least ratio of a plane's shorter side to its longer one.
_NARROWEST = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Directions ``(B, P)`` and a landscape's axis along each; ``path`` and ``shares`` are those of `plane_of_path`."""

    directions: np.ndarray
    axes: list[np.ndarray]
    path: np.ndarray | None = None
    shares: np.ndarray | None = None


def drawn(problem: Problem, count: int, *, scale: float | None) -> np.ndarray:
    """Return ``count`` draws of the model, times ``scale`` (None: `natural_scale`), float32 ``(count, P)``."""
    return np.stack([gaussian(problem, "directions", k, scale=scale) for k in range(count)])


def row_by_row(problem: Problem, weights: np.ndarray, count: int, *, scale: float | None) -> np.ndarray:
    """Return Gaussian directions whose rows have ``scale`` (None: 1) times the norms of the rows of the weights.

    A row holds the weights and the bias of a unit or a filter. A relu network computes the same function when a row is
    multiplied by a positive number and the weights that its unit feeds are divided by it. Directions that are scaled
    like the rows then show the same loss, too. Source: Li et al. 2018, "Visualizing the Loss Landscape of Neural Nets",
    filter normalisation.
    """
    directions = [normal(problem.trials[0].seed, "directions", k, shape=(problem.size,)) for k in range(count)]
    for direction in directions:
        # The matrices are views: the direction is scaled in place.
        for matrix, own in zip(problem.matrices(direction), problem.matrices(weights), strict=True):
            lengths = np.linalg.norm(own, axis=1, keepdims=True) / np.linalg.norm(matrix, axis=1, keepdims=True)
            matrix[...] *= np.float32(1 if scale is None else scale) * lengths
    return np.stack(directions)


def main_directions(points: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first ``count`` principal components ``(count, P)`` of points ``(S, P)``, and their variance shares.

    They have length 1, and point from the first point to the last. Source: Li et al. 2018, section 7, "Visualizing
    Optimization Paths".

    >>> directions, shares = main_directions(np.array([[0.0, 0.0], [3.0, 0.0], [6.0, 0.0]]), 1)
    >>> directions, shares
    (array([[1., 0.]]), array([1.]))
    """
    points = np.asarray(points, dtype=np.float64)
    _, lengths, directions = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    whole = np.sum(lengths**2)
    shares = lengths[:count] ** 2 / (whole or 1.0)
    forwards = directions[:count] @ (points[-1] - points[0]) >= 0
    return np.where(forwards, 1.0, -1.0)[:, None] * directions[:count], shares


def plane_of_path(points: np.ndarray, count: int, *, extent: float, resolution: int) -> Plane:
    """Return the plane of the main directions of a path's points ``(S, P)``, through the last of them.

    ``path`` ``(S, count)`` are the points projected on it, ``shares`` each direction's share of the variance.
    The axes are centred on the path and ``extent`` times as long; the shorter is at least 3/4 of the longer.
    """
    directions, shares = main_directions(points, count)
    places = (points - points[-1].astype(np.float64)) @ directions.T
    middles = (places.max(axis=0) + places.min(axis=0)) / 2
    halves = extent * (places.max(axis=0) - places.min(axis=0)) / 2
    # Half the lengths are 0 where the path does not move.
    halves = np.maximum(halves, _NARROWEST * halves.max()) if halves.any() else np.full(count, extent)
    axes = [np.linspace(m - half, m + half, resolution) for m, half in zip(middles, halves, strict=True)]
    return Plane(directions=directions.astype(np.float32), axes=axes, path=places, shares=shares)
