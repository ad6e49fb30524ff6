"""The error of a finite difference as a curve over h: its best h, and its slope in the truncation range."""

from __future__ import annotations

import numpy as np

# An error above this many times the largest rounding error is a truncation error.
_CLEAR = 4

# A curve is straight while no point is further than this from its fitted line, in decades: a factor of 1.26.
_STRAIGHT = 0.1

# The least length of a straight range, in decades of h: over a shorter one, rounding and kinks are straight by chance.
_LEAST = 1.0

# The width, in points of the curve, of the running median.
_WINDOW = 5


def best_h(h: np.ndarray, errors: np.ndarray) -> float:
    """Return the ``h`` of the smallest running median of the errors: a single lucky rounding does not count.

    It is the ``h`` whose error is that median. An error that is no number, of losses that overflow, is the largest.

    >>> best_h(np.array([1.0, 2, 3, 4, 5, 6, 7, 8]), np.array([0.0, 9, 8, 7, 3, 2, 4, 5]))
    7.0
    """
    width, errors = min(_WINDOW, len(h)), np.where(np.isnan(errors), np.inf, errors)
    starts = np.clip(np.arange(len(h)) - width // 2, 0, len(h) - width)
    windows = starts[:, None] + np.arange(width)
    middles = np.argsort(errors[windows], axis=-1)[:, width // 2]
    typical = windows[np.arange(len(h)), middles]
    return float(h[typical[int(np.argmin(errors[typical]))]])


def truncation_slope(h: np.ndarray, errors: np.ndarray, *, limit: float | None) -> tuple[float, np.ndarray]:
    """Return the slope of log error against log h in the truncation range, and the range's first and last h.

    The range lies above the best ``h`` and ends at ``limit``, beyond which higher terms of the Taylor series matter.
    It begins where the error is well above the largest rounding error, which is proportional to ``1 / h`` and is
    measured below the best ``h``. Without a ``limit`` it ends where the curve, drawn with logarithmic axes, is no
    longer straight, as it is while a single power of ``h`` rules; it is then at least a decade long. All results are
    NaN where there is no such range of three points or more.
    """
    best = best_h(h, errors)
    left = h < best
    rounding = np.max(errors[left] * h[left], initial=0.0) / h
    clear = np.flatnonzero((h > best) & (errors > _CLEAR * rounding))
    end = _straight(np.log10(h[clear]), np.log10(errors[clear])) if limit is None else np.sum(h[clear] <= limit)
    inside = clear[:end]
    if len(inside) < 3:
        return np.nan, np.full(2, np.nan)
    slope = np.polyfit(np.log10(h[inside]), np.log10(errors[inside]), 1)[0]
    return float(slope), h[inside][[0, -1]]


def _straight(x: np.ndarray, y: np.ndarray) -> int:
    """Return how many of the first points lie on one line, 0 where the line is too short to say."""
    count = 0
    for end in range(2, len(x) + 1):
        line = np.polyfit(x[:end], y[:end], 1)
        if not np.abs(np.polyval(line, x[:end]) - y[:end]).max() <= _STRAIGHT:  # an infinite error is on no line
            break
        count = end
    return count if count and x[count - 1] - x[0] >= _LEAST - 1e-9 else 0
