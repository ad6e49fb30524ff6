"""A source, with what became of its points: it is told of each once all of its repeats have ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.plan.plan import Plan, PlannedTrial, Point
from pipeline.plan.repeats import means, point_of, repeated
from pipeline.reports import Searched
from pipeline.results.tally import Standing
from pipeline.sweep.source import End, PointSource
from tasks.events import Outcome


class PointBatch:
    """The points of a ``source``, each of which is ``repeats`` trials; some may be trials that are known already."""

    def __init__(self, source: PointSource, *, repeats: int) -> None:
        self._source, self._repeats = source, repeats
        self._keys: dict[int, str] = {}  # of every repeat of every point, the key of its trial
        self._indices: dict[str, list[int]] = {}
        self._ends: dict[int, dict[int, End]] = {}

    @property
    def done(self) -> bool:
        """Whether no more points will come."""
        return self._source.done

    @property
    def identity(self) -> str:
        """What its source is known by."""
        return self._source.identity

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that its source must be told."""
        return self._source.metrics

    def recall(self, past: Sequence[Sequence[str]]) -> None:
        """Have the source propose what it has proposed in an earlier process."""
        self._source.recall(past)

    def news(self) -> Searched | None:
        """Return what the source has proposed and was told since the last time."""
        return self._source.news()

    def more(self, room: int) -> list[Point]:
        """Return the repeats of more points, for about so many trials at most."""
        points = self._source.more(max(1, room // self._repeats))
        return repeated(points) if points else []

    def know(self, points: Sequence[Point], plan: Plan, trials: Mapping[int, PlannedTrial]) -> None:
        """Take in which trials the points are; ``trials`` are all of the sweep, by their indices."""
        for point in points:
            key = trials[plan.folded.get(point.index, point.index)].key
            self._keys[point.index] = key
            self._indices.setdefault(key, []).append(point.index)

    def end(self, standing: Standing) -> None:
        """Take in how a trial ended."""
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
        """Return what each point came to; ``error`` is what is told of those that failed."""
        ended = {index: standings[key] for index, key in self._keys.items()}
        values: dict[int, float | Exception] = {
            index: error if standing.outcome in (None, Outcome.FAILED) else standing.value
            for index, standing in ended.items()
        }
        return means(values, self._repeats)


def _mean(ends: Sequence[End]) -> End:
    """Return what repeats came to: the means of what all have measured; one that did not complete decides how."""
    order = (Outcome.FAILED, Outcome.DIVERGED, Outcome.STOPPED, Outcome.COMPLETE)
    shared = set.intersection(*(set(end.metrics) for end in ends))
    return End(
        outcome=min((end.outcome for end in ends), key=order.index),
        metrics={name: sum(end.metrics[name] for end in ends) / len(ends) for name in sorted(shared)},
        step=min(end.step for end in ends),
    )
