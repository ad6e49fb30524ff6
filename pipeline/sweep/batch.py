"""The points of a source and their results: the source is told a point's result once all its repeats have ended."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from pipeline.plan.plan import Plan, Point
from pipeline.plan.repeats import point_of, repeated
from pipeline.results.standing import Standing
from pipeline.sweep.source import End, PointSource
from tasks.events import Outcome


class PointBatch:
    """The points of a ``source``, each run as ``repeats`` trials; some of these may be known already."""

    def __init__(self, source: PointSource, *, repeats: int) -> None:
        self.source, self._repeats = source, repeats
        self._indices: dict[str, list[int]] = {}  # of the repeats that a trial stands for, by its key
        self._ends: dict[int, dict[int, End]] = {}
        self._proposed = 0

    @property
    def to_come(self) -> int:
        """How many trials the source will still propose, at most."""
        return 0 if self.source.done else max(0, self.source.total - self._proposed) * self._repeats

    def more(self, room: int) -> list[Point]:
        """Return the repeats of more points, about ``room`` trials at most; for 0, of the first point alone."""
        points = self.source.more(math.ceil(room / self._repeats))
        self._proposed += len(points)
        return repeated(points) if points else []

    def assign(self, points: Sequence[Point], plan: Plan, standings: Iterable[Standing]) -> None:
        """Record which trial of ``standings`` stands for each point, and its end if it has ended."""
        at = {standing.trial.index: standing for standing in standings}
        own = [at[plan.folded.get(point.index, point.index)] for point in points]
        for point, standing in zip(points, own, strict=True):
            self._indices.setdefault(standing.trial.key, []).append(point.index)
        for standing in own:
            self.end(standing)

    def end(self, standing: Standing) -> None:
        """Record the end of a trial, if it has ended."""
        if standing.outcome is None:
            return
        end = End(outcome=standing.outcome, metrics=dict(standing.metrics), step=standing.step)
        for index in self._indices.get(standing.trial.key, []):
            point = point_of(index, self._repeats)
            ends = self._ends.setdefault(point, {})
            if index in ends:
                continue
            ends[index] = end
            if len(ends) == self._repeats:
                self.source.tell(point, _mean(list(ends.values())))

    def ends(self, standings: Mapping[str, Standing], error: Exception) -> dict[int, float | Exception]:
        """Return the value of each point, the mean over its repeats; ``error`` for one of which a repeat failed."""
        every: dict[int, list[Standing]] = {}
        for index, key in sorted((index, key) for key, indices in self._indices.items() for index in indices):
            every.setdefault(point_of(index, self._repeats), []).append(standings[key])
        return {
            point: error
            if any(one.outcome in (None, Outcome.FAILED) for one in repeats)
            else sum(one.value for one in repeats) / len(repeats)
            for point, repeats in every.items()
        }


def _mean(ends: Sequence[End]) -> End:
    """Return the end of a point: the mean of each metric that all repeats have, and the worst of their outcomes."""
    order = (Outcome.FAILED, Outcome.DIVERGED, Outcome.STOPPED, Outcome.COMPLETE)
    shared = set.intersection(*(set(end.metrics) for end in ends))
    return End(
        outcome=min((end.outcome for end in ends), key=order.index),
        metrics={name: sum(end.metrics[name] for end in ends) / len(ends) for name in sorted(shared)},
        step=min(end.step for end in ends),
    )
