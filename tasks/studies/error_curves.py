"""Reading the error of a finite difference as a curve over h: where it is best, and its slope beyond."""

from __future__ import annotations

import numpy as np

# So many times the largest rounding error is well above it.
_CLEAR = 4

# Points of the curve about one over which its error is smoothed.
_WINDOW = 5


def best_h(h: np.ndarray, errors: np.ndarray) -> float:
    """Return the ``h`` of the smallest error, smoothed by a running median: one lucky rounding is no merit.

    It is the ``h`` of the median itself, so that its error is the typical one there.

    >>> best_h(np.array([1.0, 2, 3, 4, 5, 6, 7, 8]), np.array([0.0, 9, 8, 7, 3, 2, 4, 5]))
    7.0
    """
    width = min(_WINDOW, len(h))
    starts = np.clip(np.arange(len(h)) - width // 2, 0, len(h) - width)
    windows = starts[:, None] + np.arange(width)
    middles = np.argsort(errors[windows], axis=-1)[:, width // 2]
    typical = windows[np.arange(len(h)), middles]
    return float(h[typical[int(np.argmin(errors[typical]))]])


def truncation_slope(h: np.ndarray, errors: np.ndarray, *, limit: float) -> tuple[float, np.ndarray]:
    """Return the slope of log error against log h in the truncation range, and the range's first and last h.

    The range lies to the right of the best ``h`` and ends at ``limit``, beyond which higher terms of the
    Taylor series take part. It begins where the error is well above the most that rounding adds, which goes
    as ``1 / h`` and is measured on the left of the best ``h``. Where that leaves fewer than three points there
    is no such range, and all is NaN.
    """
    best = best_h(h, errors)
    left = h < best
    rounding = np.max(errors[left] * h[left], initial=0.0) / h
    inside = (h > best) & (h <= limit) & (errors > _CLEAR * rounding)
    if np.count_nonzero(inside) < 3:
        return np.nan, np.full(2, np.nan)
    slope = np.polyfit(np.log10(h[inside]), np.log10(errors[inside]), 1)[0]
    return float(slope), h[inside][[0, -1]]
