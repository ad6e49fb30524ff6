"""The results of a sweep that may win: the best of each setting, as long as none is known to be better."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.plan.plan import PlannedTrial
from pipeline.reports import Finished
from pipeline.results.repeats import rank
from pipeline.results.tally import Tally


class BestResults:
    """Keeps the results, with their arrays, that may win by a ``tally``, which has counted each before it is added."""

    def __init__(self, tally: Tally, results: Iterable[Finished] = ()) -> None:
        self._tally = tally
        self._best: dict[str, Finished] = {}  # by the key of their setting
        for result in results:
            self.add(result)

    def add(self, result: Finished) -> None:
        """Keep a result if it is the best of its setting; of the settings that have ended, keep only the best one's."""
        key, tally = self._tally.setting_of(result.trial), self._tally
        known = self._best.get(key, result)
        self._best[key] = min(known, result, key=lambda one: rank(tally.standings[one.trial.key]))
        if tally.has_ended(key):
            ended = {other for other in self._best if tally.has_ended(other)}
            for worse in ended - {min(ended, key=tally.rank_key)}:
                del self._best[worse]

    def ranked_by(self, tally: Tally) -> BestResults:
        """Return these results by another tally, in which they may belong to other settings."""
        return BestResults(tally, self._best.values())

    @property
    def winner(self) -> Finished | None:
        """The best result of the best setting."""
        return self._best[min(self._best, key=self._tally.rank_key)] if self._best else None

    def may_win(self, trial: PlannedTrial) -> bool:
        """Return whether a trial is the best of a setting that may win."""
        first = self._best.get(self._tally.setting_of(trial))
        return first is not None and first.trial.key == trial.key
