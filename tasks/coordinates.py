"""The coordinates of a loss: numbers of an example, linear in its scores, that the loss depends on.

Searches and landscapes in score space know what a step adds to the scores, and so what it adds to the coordinates.
"""

from __future__ import annotations

from typing import Protocol

from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.labels import classes, correct_scores, hits, is_correct


class Coordinates(Protocol):
    """A kind of coordinates; scores are ``(*trials, C, N)``, labels ``(N,)``."""

    def __hash__(self) -> int:
        """Return a hash: a local search may fuse trials whose losses have equal coordinates."""

    def of(self, scores: Array, labels: Array) -> Array:
        """Return the coordinates, ``(*trials, C, N)``; one that the losses ignore is ``-inf``."""

    def changes(self, scores: Array, labels: Array) -> Array:
        """Return what scores add to the coordinates, ``(*trials, C, N)``: linear, 0 for one that is ignored."""

    def counted(self, scores: Array, labels: Array, offset: Array) -> Array:
        """Return ``offset`` plus the coordinates that are not ignored, ``(*trials, Z, N)``."""

    def hits(self, coordinates: Array, labels: Array) -> Array:
        """Return whether the correct class has the highest score (the first, in a tie), bool ``(*trials, N)``."""


class Differences:
    """``s_j - s_y``, for a loss that compares every class's score with the correct one's; ``s_y - s_y`` is ignored."""

    def of(self, scores: Array, labels: Array) -> Array:
        """Return the differences, ``-inf`` for the correct class."""
        xp = array_namespace(scores)
        nothing = xp.asarray(-xp.inf, dtype=scores.dtype, device=scores.device)
        return xp.where(is_correct(scores, labels), nothing, self.changes(scores, labels))

    def changes(self, scores: Array, labels: Array) -> Array:
        """Return the differences, 0 for the correct class."""
        return scores - correct_scores(scores, labels)

    def counted(self, scores: Array, labels: Array, offset: Array) -> Array:
        """Return ``offset`` plus the differences of the incorrect classes, ``(*trials, C - 1, N)``."""
        xp = array_namespace(scores)
        wrong = xp.arange(scores.shape[-2] - 1, dtype=labels.dtype, device=labels.device)[:, None]
        wrong = wrong + xp.astype(wrong >= labels, labels.dtype)  # (C - 1, N)
        index = xp.reshape(wrong, (1,) * (scores.ndim - 2) + wrong.shape)
        return xp.take_along_axis(scores, index, axis=-2) - (correct_scores(scores, labels) - offset)

    def hits(self, coordinates: Array, labels: Array) -> Array:
        """Return whether no class has a higher score than the correct one, or an equal one and a lower number."""
        xp = array_namespace(coordinates)
        first = classes(coordinates, labels) < labels  # (C, N)
        return ~xp.any((coordinates > 0) | (first & (coordinates == 0)), axis=-2)


class Signed:
    """``s_j``, and ``-s_y`` for the correct class, for a loss that judges every class by itself (one-vs-all)."""

    def of(self, scores: Array, labels: Array) -> Array:
        """Return the scores with their signs."""
        return self.changes(scores, labels)

    def changes(self, scores: Array, labels: Array) -> Array:
        """Return the scores with their signs."""
        xp = array_namespace(scores)
        return scores * (1 - 2 * xp.astype(is_correct(scores, labels), scores.dtype))

    def counted(self, scores: Array, labels: Array, offset: Array) -> Array:
        """Return ``offset`` plus the scores with their signs: none is ignored."""
        return self.changes(scores, labels) + offset

    def hits(self, coordinates: Array, labels: Array) -> Array:
        """Return whether the correct class has the highest score."""
        return hits(self.changes(coordinates, labels), labels)


DIFFERENCES, SIGNED = Differences(), Signed()
