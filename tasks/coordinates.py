"""What a loss depends on: coordinates of an example that are linear in its scores.

Searches and landscapes in score space move along them: what a step adds to the scores is known, and so is what it adds
to the coordinates.
"""

from __future__ import annotations

from typing import Protocol

from array_api_compat import array_namespace

from tasks.arrays.array import Array
from tasks.labels import classes, correct_scores, hits, is_correct


class Coordinates(Protocol):
    """A kind of coordinates; scores are ``(*trials, C, N)``, labels ``(N,)``."""

    def of(self, scores: Array, labels: Array) -> Array:
        """Return the coordinates, ``(*trials, C, N)``; one that no loss counts is ``-inf``."""

    def changes(self, scores: Array, labels: Array) -> Array:
        """Return what scores add to the coordinates, ``(*trials, C, N)``: linear, 0 where none counts."""

    def counted(self, scores: Array, labels: Array, offset: Array) -> Array:
        """Return those that count, with an offset, ``(*trials, Z, N)``: affine in the scores."""

    def hits(self, coordinates: Array, labels: Array) -> Array:
        """Return whether the correct class has the highest score (the first, in a tie), bool ``(*trials, N)``."""


class Differences:
    """``s_j - s_y``: of a loss that compares every class's score with the correct one's, which is not counted."""

    def of(self, scores: Array, labels: Array) -> Array:
        """Return the differences, ``-inf`` for the correct class."""
        xp = array_namespace(scores)
        nothing = xp.asarray(-xp.inf, dtype=scores.dtype, device=getattr(scores, "device", None))
        return xp.where(is_correct(scores, labels), nothing, self.changes(scores, labels))

    def changes(self, scores: Array, labels: Array) -> Array:
        """Return the differences, 0 for the correct class."""
        return scores - correct_scores(scores, labels)

    def counted(self, scores: Array, labels: Array, offset: Array) -> Array:
        """Return those of the classes other than the correct one, ``(*trials, C - 1, N)``."""
        xp = array_namespace(scores)
        others = xp.arange(scores.shape[-2] - 1, dtype=labels.dtype, device=getattr(labels, "device", None))[:, None]
        others = others + xp.astype(others >= labels, labels.dtype)  # (C - 1, N)
        index = xp.reshape(others, (1,) * (scores.ndim - 2) + others.shape)
        return xp.take_along_axis(scores, index, axis=-2) - (correct_scores(scores, labels) - offset)

    def hits(self, coordinates: Array, labels: Array) -> Array:
        """Return whether nobody leads the correct class."""
        xp = array_namespace(coordinates)
        first = classes(coordinates, labels) < labels  # (C, N)
        return ~xp.any((coordinates > 0) | (first & (coordinates == 0)), axis=-2)


class Signed:
    """``s_j``, and ``-s_y`` for the correct class: of a loss that asks of every class by itself whether it is right."""

    def of(self, scores: Array, labels: Array) -> Array:
        """Return the scores with their signs."""
        return self.changes(scores, labels)

    def changes(self, scores: Array, labels: Array) -> Array:
        """Return the scores with their signs."""
        xp = array_namespace(scores)
        return scores * (1 - 2 * xp.astype(is_correct(scores, labels), scores.dtype))

    def counted(self, scores: Array, labels: Array, offset: Array) -> Array:
        """Return the scores with their signs: all count."""
        return self.changes(scores, labels) + offset

    def hits(self, coordinates: Array, labels: Array) -> Array:
        """Return whether the correct class has the highest score."""
        return hits(self.changes(coordinates, labels), labels)


DIFFERENCES, SIGNED = Differences(), Signed()
