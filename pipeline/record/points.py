"""The points of one run: a trial's curves as blocks of points, every point exactly once."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from pipeline.record.protocol import Series
from tasks.events import Curve, Outcome, Result

Block = tuple[str, np.ndarray, np.ndarray, np.ndarray]
"""Consecutive points of a metric: its name, their values, timestamps in milliseconds and steps."""


class RunPoints:
    """Remembers the points of a run, so that a group that is retried writes none twice.

    ``now`` is when the run started, in milliseconds since the epoch.
    """

    def __init__(self, now: int) -> None:
        self._last_arrival = now
        self._last: dict[str, int] = {}
        self._nans: dict[str, tuple[int, int]] = {}
        self._series: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}

    def add(self, curve: Curve, now: int) -> list[Block]:
        """Return the new points of ``curve``, which arrived at ``now``.

        A NaN means no point. The steps were computed between the last arrival and this one, so the timestamps are
        spread evenly over that time: a chart against time shows a curve and no staircase.
        """
        times = np.linspace(self._last_arrival, now, len(curve.steps) + 1)[1:].astype(np.int64)
        self._last_arrival = now
        points: list[Block] = []
        for metric, values in curve.metrics.items():
            if len(values) and np.isnan(values[-1]):
                self._nans[metric] = (int(curve.steps[-1]), int(times[-1]))
            new = ~np.isnan(values) & (curve.steps > self._last.get(metric, -1))
            if new.any():
                points.append(self._add_block(metric, curve.steps[new], values[new], times[new]))
        return points

    def end(self, result: Result, now: int) -> list[Block]:
        """Return the points that only the result gives.

        They are the metrics without a curve, and the NaNs at the step at which a trial diverged: there the metric
        was NaN.
        """
        points: list[Block] = []
        for metric, value in result.metrics.items():
            if metric not in self._last and not math.isnan(value):
                points.append(self._add_block(metric, np.array([result.step]), np.array([value]), np.array([now])))
        if result.outcome is Outcome.DIVERGED:
            for metric, (step, time) in self._nans.items():
                if step == result.step and step > self._last.get(metric, -1):
                    points.append(self._add_block(metric, np.array([step]), np.array([math.nan]), np.array([time])))
        return points

    def series(self) -> Mapping[str, Series]:
        """Return all points so far as curves."""
        return {
            metric: Series(
                steps=np.concatenate([steps for steps, _ in blocks]),
                values=np.concatenate([values for _, values in blocks]),
            )
            for metric, blocks in self._series.items()
        }

    def thin(self, most: int) -> None:
        """Downsample the curves of more than ``most`` points, if that of the training loss is one of them.

        Of that curve the lowest and the last point of every stretch are kept; of the others the same steps. The last
        ones are at the same steps in all repeats of a setting, whose curves are averaged where all have a point.
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
                self._series[metric] = [(one.steps[same], one.values[same])]

    def last(self) -> dict[str, float]:
        """Return the last value of each metric."""
        return {metric: float(blocks[-1][1][-1]) for metric, blocks in self._series.items()}

    @staticmethod
    def block(metric: str, value: float, now: int, step: int) -> Block:
        """Return a point of a metric."""
        return metric, np.array([value]), np.array([now]), np.array([step])

    def _add_block(self, metric: str, steps: np.ndarray, values: np.ndarray, times: np.ndarray) -> Block:
        self._last[metric] = int(steps[-1])
        self._series.setdefault(metric, []).append((steps, values))
        return metric, values, times, steps
