"""The points of a source and their results: the source is told a point's result once all its repeats have ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.plan.plan import Plan, PlannedTrial, Point
from pipeline.plan.repeats import means, point_of, repeated
from pipeline.reports import Searched
from pipeline.results.standing import Standing
from pipeline.sweep.source import End, PointSource
from tasks.events import Outcome


class PointBatch:
    """The points of a ``source``, each run as ``repeats`` trials; some of these may be known already."""

    def __init__(self, source: PointSource, *, repeats: int) -> None:
        self._source, self._repeats = source, repeats
        self._keys: dict[int, str] = {}  # the key of the trial of every repeat, by the repeat's index
        self._indices: dict[str, list[int]] = {}
        self._ends: dict[int, dict[int, End]] = {}

    @property
    def done(self) -> bool:
        """Whether no more points will come."""
        return self._source.done

    @property
    def identity(self) -> str:
        """The identity of its source."""
        return self._source.identity

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that its source varies."""
        return self._source.keys

    @property
    def examples(self) -> Sequence[Point]:
        """Points at the ends of what its source may propose later."""
        return self._source.examples

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that its source needs."""
        return self._source.metrics

    def recall(self, past: Sequence[Sequence[str]]) -> None:
        """Have the source repeat the proposals of an earlier process."""
        self._source.recall(past)

    def news(self) -> Searched | None:
        """Return the source's new proposals and results since the last call."""
        return self._source.news()

    def more(self, room: int) -> list[Point]:
        """Return the repeats of more points, about ``room`` trials at most."""
        points = self._source.more(max(1, room // self._repeats))
        return repeated(points) if points else []

    def assign(self, points: Sequence[Point], plan: Plan, trials: Mapping[int, PlannedTrial]) -> None:
        """Record which trial each point is; ``trials`` are all of the sweep, by index."""
        for point in points:
            key = trials[plan.folded.get(point.index, point.index)].key
            self._keys[point.index] = key
            self._indices.setdefault(key, []).append(point.index)

    def end(self, standing: Standing) -> None:
        """Record the end of a trial."""
        assert standing.outcome is not None, "it has ended"
        end = End(outcome=standing.outcome, metrics=dict(standing.metrics), step=standing.step)
        for index in self._indices.get(standing.trial.key, []):
            point = point_of(index, self._repeats)
            ends = self._ends.setdefault(point, {})
            if index in ends:
                continue
            ends[index] = end
            if len(ends) == self._repeats:
                self._source.tell(point, _mean(list(ends.values())))

    def ends(self, standings: Mapping[str, Standing], error: Exception) -> dict[int, float | Exception]:
        """Return the value of each point, ``error`` for those that failed."""
        ended = {index: standings[key] for index, key in self._keys.items()}
        values: dict[int, float | Exception] = {
            index: error if standing.outcome in (None, Outcome.FAILED) else standing.value
            for index, standing in ended.items()
        }
        return means(values, self._repeats)


def _mean(ends: Sequence[End]) -> End:
    """Return the end of a point: the mean of each metric that all repeats have, and the worst of their outcomes."""
    order = (Outcome.FAILED, Outcome.DIVERGED, Outcome.STOPPED, Outcome.COMPLETE)
    shared = set.intersection(*(set(end.metrics) for end in ends))
    return End(
        outcome=min((end.outcome for end in ends), key=order.index),
        metrics={name: sum(end.metrics[name] for end in ends) / len(ends) for name in sorted(shared)},
        step=min(end.step for end in ends),
    )
