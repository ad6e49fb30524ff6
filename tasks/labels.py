"""What labels say of scores: which is the correct class's, and whether it is the highest."""

from __future__ import annotations

from array_api_compat import array_namespace

from tasks.arrays.array import Array


def correct_scores(scores: Array, labels: Array) -> Array:
    """Return the score of each example's correct class, ``(*trials, 1, N)``."""
    xp = array_namespace(scores)
    *trials, classes, count = scores.shape
    # One index for all trials: for many of them, NumPy takes so four times as fast as along the axis.
    place = labels * count + xp.arange(count, dtype=labels.dtype, device=getattr(labels, "device", None))
    taken = xp.take(xp.reshape(scores, (*trials, classes * count)), place, axis=-1)
    return xp.reshape(taken, (*trials, 1, count))


def is_correct(scores: Array, labels: Array) -> Array:
    """Return which class is each example's correct one, bool ``(C, N)``."""
    return classes(scores, labels) == labels


def hits(scores: Array, labels: Array) -> Array:
    """Return whether an example's highest score (the first, in a tie) is its label's, bool ``(*trials, N)``.

    An example with a score that is NaN has no highest one.
    """
    xp = array_namespace(scores)
    # NumPy finds the largest ten times as fast as its place.
    highest = xp.max(scores, axis=-2, keepdims=True)
    beaten = xp.any((scores == highest) & (classes(scores, labels) < labels), axis=-2)
    return (correct_scores(scores, labels) == highest)[..., 0, :] & ~beaten


def accuracy(scores: Array, labels: Array) -> Array:
    """Return the fraction of examples whose highest score is their label's, ``(*trials,)``; see `hits`."""
    xp = array_namespace(scores)
    return xp.mean(xp.astype(hits(scores, labels), xp.float64), axis=-1)


def classes(scores: Array, labels: Array) -> Array:
    """Return the number of every class, ``(C, 1)``, beside the labels."""
    xp = array_namespace(scores, labels)
    return xp.arange(scores.shape[-2], dtype=labels.dtype, device=getattr(labels, "device", None))[:, None]
