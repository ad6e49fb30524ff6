"""Curves: a point is the mean over the steps since the last point, since a raw minibatch is noise to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

_PREFIX = "curves/"


class Curves:
    """Turns what was measured at every step, ``(S, K)`` an array, into points every ``every`` steps."""

    def __init__(self, *, every: int, carried: Mapping[str, np.ndarray] | None = None) -> None:
        self._every = every
        self._carried = dict(carried or {})  # steps since the last point, (S, K) each

    @classmethod
    def resumed(cls, every: int, arrays: Mapping[str, np.ndarray]) -> Curves:
        """Return the curves that `state` described."""
        carried = {name.removeprefix(_PREFIX): a.T for name, a in arrays.items() if name.startswith(_PREFIX)}
        return cls(every=every, carried=carried)

    def state(self) -> dict[str, np.ndarray]:
        """Return the steps since the last point, as named arrays ``(K, S)``."""
        return {_PREFIX + name: values.T for name, values in self._carried.items()}

    def extend(
        self, start: int, measured: Mapping[str, np.ndarray], *, final: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Add the steps after ``start``; return the steps of the new points, ``(P,)``, and their means, ``(P, K)``.

        The ``final`` steps end in a point whatever their number.
        """
        together = {name: np.concatenate([*self._since(name), values]) for name, values in measured.items()}
        count = len(next(iter(together.values())))
        stop = start + len(next(iter(measured.values())))
        first = stop - count
        ends = [step for step in range(first + 1, stop + 1) if step % self._every == 0 or (final and step == stop)]
        cuts = [first, *ends]
        windows = [slice(a - first, b - first) for a, b in zip(cuts, ends, strict=False)]
        self._carried = {name: values[cuts[-1] - first :] for name, values in together.items()}
        means = {
            name: np.stack([_mean(values[window]) for window in windows]) if windows else values[:0]
            for name, values in together.items()
        }
        return np.array(ends, dtype=np.int64), means

    def keep(self, trials: Sequence[int]) -> None:
        """Go on with some of the trials."""
        self._carried = {name: values[:, trials] for name, values in self._carried.items()}

    def _since(self, name: str) -> list[np.ndarray]:
        return [self._carried[name]] if name in self._carried else []


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the first axis of ``(S, K)``: trial by trial, so that K changes no bit.

    A NaN is a step at which nothing was measured; where nothing was at any step, the mean is NaN too.
    """
    of_trials = np.ascontiguousarray(values.T)
    measured = ~np.isnan(of_trials)
    sums = np.where(measured, of_trials, 0.0).sum(axis=-1)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / measured.sum(axis=-1))
