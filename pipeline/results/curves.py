"""The curves of trials, as their points come, and what the figures of a sweep are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.results.standing import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One curve: steps int64 ``(P,)`` ascending, values float64 ``(P,)``."""

    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """A trial of a sweep, or the mean of a setting's repeats, with its standing and its curves, for the figures."""

    standing: Standing
    curves: Mapping[str, Series]
    is_mean: bool = False


_SMALL = 256
"""Blocks of fewer points are joined once there are so many: one of a single point takes 18 times its numbers."""


class Curves:
    """The curves of one trial by metric, to which points are added in the order of their steps."""

    def __init__(self) -> None:
        self._blocks: dict[str, list[Series]] = {}

    def add(self, metric: str, block: Series) -> None:
        """Add points, at least one, to a curve."""
        blocks = self._blocks.setdefault(metric, [])
        blocks.append(block)
        if len(blocks) >= _SMALL and len(blocks[-_SMALL].steps) < _SMALL:
            blocks[-_SMALL:] = [_joined(blocks[-_SMALL:])]

    def series(self) -> Mapping[str, Series]:
        """Return the curves so far."""
        for metric, blocks in self._blocks.items():
            self._blocks[metric] = [_joined(blocks)]
        return {metric: blocks[0] for metric, blocks in self._blocks.items()}

    def copy(self) -> Curves:
        """Return curves that keep their points when these are downsampled; the numbers are not copied."""
        copied = Curves()
        copied._blocks = {metric: [*blocks] for metric, blocks in self._blocks.items()}
        return copied

    def last(self) -> dict[str, float]:
        """Return the last value of each metric."""
        return {metric: float(blocks[-1].values[-1]) for metric, blocks in self._blocks.items()}

    def thin(self, most: int) -> None:
        """Downsample the curves of more than ``most`` points.

        That of the training loss keeps the lowest and the last point of every stretch, and curves of its steps keep the
        same steps; any other keeps the lowest, the highest and the last point of every stretch. The last points are at
        the same steps in all repeats of a setting: the mean of their curves needs steps that all have.
        """
        curves = self.series()
        loss = curves.get("train/loss")
        of_loss = _kept(loss, most, np.argmin) if loss and len(loss.steps) > most else None
        for metric, one in curves.items():
            if len(one.steps) <= most:
                continue
            follows = loss is not None and np.isin(one.steps, loss.steps).all()
            kept = of_loss if of_loss is not None and follows else _kept(one, most, np.argmin, np.argmax)
            same = np.isin(one.steps, kept)
            self._blocks[metric] = [Series(steps=one.steps[same], values=one.values[same])]


def _joined(blocks: Sequence[Series]) -> Series:
    """Return the points of all blocks."""
    if len(blocks) == 1:
        return blocks[0]
    return Series(
        steps=np.concatenate([block.steps for block in blocks]),
        values=np.concatenate([block.values for block in blocks]),
    )


def _kept(curve: Series, most: int, *extremes: Callable[[np.ndarray], Any]) -> np.ndarray:
    """Return at most ``most`` steps of a curve: those of the extremes and of the last point of every stretch."""
    stretches = np.array_split(np.arange(len(curve.steps)), most // (len(extremes) + 1))
    places = [stretch[extreme(curve.values[stretch])] for stretch in stretches for extreme in extremes]
    return curve.steps[[*places, *(stretch[-1] for stretch in stretches)]]
