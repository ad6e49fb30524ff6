"""Directions of a landscape: drawn, drawn and scaled row by row, or the main directions of a training's path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.arrays.random_streams import normal
from tasks.fused.problem import Problem
from tasks.weight_space.points import gaussian

# A plane is at least so wide in one direction for its width in the other.
_NARROWEST = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """Directions ``(B, P)``, the axes that a landscape takes along each; of a path what `plane_of_path` says."""

    directions: np.ndarray
    axes: list[np.ndarray]
    path: np.ndarray | None = None
    shares: np.ndarray | None = None


def drawn(problem: Problem, count: int, *, scale: float | None) -> np.ndarray:
    """Return ``count`` draws of the model, times ``scale`` (None: `natural_scale`), float32 ``(count, P)``."""
    return np.stack([gaussian(problem, "directions", k, scale=scale) for k in range(count)])


def row_by_row(problem: Problem, weights: np.ndarray, count: int, *, scale: float | None) -> np.ndarray:
    """Return Gaussian directions of which each row has ``scale`` (None: 1) times the norm of that row of the weights.

    A row is what goes into a unit, or a filter. So a network whose units are scaled, which relu does not notice, has
    the same landscape. Source: Li et al. 2018, "Visualizing the Loss Landscape of Neural Nets", filter normalisation.
    """
    directions = [normal(problem.trials[0].seed, "directions", k, shape=(problem.size,)) for k in range(count)]
    for direction in directions:
        # Views: the direction is scaled in place.
        for matrix, own in zip(problem.matrices(direction), problem.matrices(weights), strict=True):
            lengths = np.linalg.norm(own, axis=1, keepdims=True) / np.linalg.norm(matrix, axis=1, keepdims=True)
            matrix[...] *= np.float32(1 if scale is None else scale) * lengths
    return np.stack(directions)


def main_directions(points: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``count`` main directions ``(count, P)`` of points ``(S, P)``, and each one's share of their variance.

    Principal components, of length 1; along each the first point lies before the last. Source: Li et al. 2018,
    section 7, "Visualizing Optimization Paths".

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

    ``path`` are the points projected on it ``(S, count)``, ``shares`` those of the variance that each direction has.
    The axes are ``extent`` times as long as the path, which is in their middle.
    """
    directions, shares = main_directions(points, count)
    places = (points - points[-1].astype(np.float64)) @ directions.T
    middles = (places.max(axis=0) + places.min(axis=0)) / 2
    halves = extent * (places.max(axis=0) - places.min(axis=0)) / 2
    halves = (
        np.maximum(halves, _NARROWEST * halves.max()) if halves.any() else np.full(count, extent)
    )  # it may not move
    axes = [np.linspace(m - half, m + half, resolution) for m, half in zip(middles, halves, strict=True)]
    return Plane(directions=directions.astype(np.float32), axes=axes, path=places, shares=shares)
