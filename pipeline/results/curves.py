"""The curves of trials, as their points come, and what the figures of a sweep are drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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


class Curves:
    """The curves of one trial by metric, to which points are added in the order of their steps."""

    def __init__(self) -> None:
        self._blocks: dict[str, list[Series]] = {}

    def add(self, metric: str, block: Series) -> None:
        """Add points, at least one, to a curve."""
        self._blocks.setdefault(metric, []).append(block)

    def series(self) -> Mapping[str, Series]:
        """Return the curves so far."""
        return {
            metric: Series(
                steps=np.concatenate([block.steps for block in blocks]),
                values=np.concatenate([block.values for block in blocks]),
            )
            for metric, blocks in self._blocks.items()
        }

    def copy(self) -> Curves:
        """Return curves that keep their points when these are downsampled; the numbers are not copied."""
        copied = Curves()
        copied._blocks = {metric: [*blocks] for metric, blocks in self._blocks.items()}
        return copied

    def last(self) -> dict[str, float]:
        """Return the last value of each metric."""
        return {metric: float(blocks[-1].values[-1]) for metric, blocks in self._blocks.items()}

    def thin(self, most: int) -> None:
        """Downsample the curves of more than ``most`` points, if that of the training loss is one of them.

        That curve keeps the lowest and the last point of every stretch; the others keep the same steps. The last points
        are at the same steps in all repeats of a setting: the mean of their curves needs steps that all have.
        """
        curves = self.series()
        loss = curves.get("train/loss")
        if loss is None or len(loss.steps) <= most:
            return
        steps, values = loss.steps, loss.values
        stretches = np.array_split(np.arange(len(steps)), most // 2)
        lowest = [stretch[np.argmin(values[stretch])] for stretch in stretches]
        kept = steps[[*lowest, *(stretch[-1] for stretch in stretches)]]
        for metric, one in curves.items():
            if len(one.steps) > most:
                same = np.isin(one.steps, kept)
                self._blocks[metric] = [Series(steps=one.steps[same], values=one.values[same])]
