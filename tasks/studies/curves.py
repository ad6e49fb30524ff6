"""Curves: each point is the mean over the steps since the last point, since single minibatches are noisy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

_PREFIX = "curves/"


class Curves:
    """Averages the measures of every step, arrays ``(S, K)``, to a point every ``every`` steps."""

    def __init__(self, *, every: int, pending: Mapping[str, np.ndarray] | None = None) -> None:
        self._every = every
        self._pending = dict(pending or {})  # steps since the last point, (S, K) each

    @classmethod
    def resumed(cls, every: int, arrays: Mapping[str, np.ndarray]) -> Curves:
        """Return the curves from the arrays of `state`."""
        pending = {name.removeprefix(_PREFIX): a.T for name, a in arrays.items() if name.startswith(_PREFIX)}
        return cls(every=every, pending=pending)

    def state(self) -> dict[str, np.ndarray]:
        """Return the steps since the last point, as named arrays ``(K, S)``."""
        return {_PREFIX + name: values.T for name, values in self._pending.items()}

    def extend(
        self, start: int, measured: Mapping[str, np.ndarray], *, final: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Add the steps after ``start``; return the steps of the new points, ``(P,)``, and their means, ``(P, K)``.

        If these are the ``final`` steps, the last one ends in a point.
        """
        values_since = {
            name: np.concatenate([self._pending.get(name, values[:0]), values]) for name, values in measured.items()
        }
        count = len(next(iter(values_since.values())))
        stop = start + len(next(iter(measured.values())))
        first = stop - count
        ends = [step for step in range(first + 1, stop + 1) if step % self._every == 0 or (final and step == stop)]
        starts = [first, *ends]
        windows = [slice(a - first, b - first) for a, b in zip(starts, ends, strict=False)]
        self._pending = {name: values[starts[-1] - first :] for name, values in values_since.items()}
        means = {
            name: np.stack([_mean(values[window]) for window in windows]) if windows else values[:0]
            for name, values in values_since.items()
        }
        return np.array(ends, dtype=np.int64), means

    def keep(self, trials: Sequence[int]) -> None:
        """Go on with some of the trials."""
        self._pending = {name: values[:, trials] for name, values in self._pending.items()}


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of ``(S, K)``: trial by trial, so that K changes no bit.

    A NaN is a step without a measure; without any measure, the mean is NaN.
    """
    of_trials = np.ascontiguousarray(values.T)
    measured = ~np.isnan(of_trials)
    sums = np.where(measured, of_trials, 0.0).sum(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / measured.sum(axis=-1))
