"""The rungs of a stopping rule: which settings have reached them, and which go on, decided from results alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pipeline.stopping.rule import MetricHistory, Rule, passing_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A decision at a rung, where so many settings have ``arrived``, with their scores, the best first.

    A decision that is not ``complete`` leaves out the scores that an earlier one holds, except of settings that go on
    now: with asha each of thousands of settings may cause a decision, and all scores in each would be millions.

    ``pool`` is the number of the settings that are compared with each other: a bracket, or those proposed together.

    Settings in ``passed`` go on, those in ``stopped`` do not; any other that has not passed before is paused.
    ``complete`` says that no other setting will arrive.
    """

    step: int
    pool: int
    arrived: int
    scores: Mapping[str, float]
    passed: tuple[str, ...]
    stopped: tuple[str, ...]
    complete: bool


@dataclass(slots=True, kw_only=True)
class _Rung:
    step: int
    arrived: dict[str, MetricHistory] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    decided: set[str] = field(default_factory=set)  # the settings whose scores a decision holds
    closed: bool = False


@dataclass(slots=True, kw_only=True)
class _Pool:
    """Settings that are compared with each other."""

    rungs: list[_Rung]
    settings: list[str] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)


class RungSystem:
    """The rungs of a rule, for all settings that are added.

    A setting is compared by the mean of its repeats, once all of them have arrived; one with a trial that diverged or
    failed does not pass.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._pools: list[_Pool] = []
        self._pool_of: dict[str, _Pool] = {}
        self._members: dict[str, tuple[str, ...]] = {}
        self._setting_of: dict[str, str] = {}
        self._histories: dict[str, MetricHistory] = {}  # of the trials that have arrived at their next rung
        self._ended: dict[str, tuple[float, Mapping[int, float]]] = {}  # of trials that ended before their last rung

    def add(self, settings: Mapping[str, Sequence[str]], *, first: int, last: int) -> None:
        """Add settings, each with the trials that are its repeats; they are dealt to the brackets in turn.

        Their rungs are from ``first`` on, below ``last``.
        """
        brackets = self._rule.brackets
        if self._rule.synchronous or not self._pools:
            self._pools += [
                _Pool(rungs=[_Rung(step=step) for step in self._rule.rungs(first, last, bracket)])
                for bracket in range(brackets)
            ]
        for name, trials in settings.items():
            setting = name if name not in self._members else f"{name} {len(self._members)}"  # more repeats of a setting
            pool = self._pools[len(self._pools) - brackets + len(self._members) % brackets]
            pool.settings.append(setting)
            self._pool_of[setting], self._members[setting] = pool, tuple(trials)
            self._setting_of |= dict.fromkeys(trials, setting)
            for rung in pool.rungs:
                rung.closed = False

    @property
    def settled(self) -> bool:
        """Whether every rung is complete: those that have not been stopped go on to their end."""
        return all(rung.closed for pool in self._pools for rung in pool.rungs)

    def trials(self, settings: Iterable[str]) -> list[str]:
        """Return the trials of settings."""
        return [trial for setting in settings for trial in self._members[setting]]

    def next_rung(self, trial: str) -> int | None:
        """Return the step of a trial's next rung, None where there is none."""
        rung = self._next_rung_of(self._setting_of[trial]) if trial in self._setting_of else None
        return None if rung is None else rung.step

    def is_stopped(self, trial: str) -> bool:
        """Return whether a trial's setting was stopped."""
        setting = self._setting_of[trial]
        return setting in self._pool_of[setting].stopped

    def arrive(self, trial: str, history: MetricHistory) -> None:
        """Record that a trial has arrived at its next rung, with its history up to there."""
        setting = self._setting_of[trial]
        rung = self._next_rung_of(setting)
        assert rung is not None, "a trial that has passed all rungs arrives at none"
        self._histories[trial] = history
        members = self._members[setting]
        if all(member in self._histories for member in members):
            histories = [self._histories[member] for member in members]
            shortest = min(map(len, histories))  # one that has completed arrives with a single value
            columns = zip(*(history[-shortest:] for history in histories), strict=True)
            rung.arrived[setting] = [sum(column) / len(members) for column in columns]

    def end(self, trial: str, score: float = math.nan, points: Mapping[int, float] = MappingProxyType({})) -> None:
        """Record that a trial has ended: it has that score at the rungs that are left, NaN if it diverged or failed.

        At those where one of its ``points``, by step and in order, was measured, it has its history up to there.
        """
        rung = self.next_rung(trial)
        if rung is not None and not self.is_stopped(trial):
            self._ended[trial] = score, points
            history = [value for step, value in points.items() if step <= rung]
            self.arrive(trial, history if rung in points else [score])

    def decide(self, *, closed: bool) -> Iterator[Decision]:
        """Yield the decisions that can be made now; ``closed`` says that no more settings are added for now."""
        for number, pool in enumerate(self._pools):
            final, entered = self._rule.synchronous or closed, len(pool.settings)
            for rung in pool.rungs:
                if not rung.closed:
                    complete = final and entered == len(rung.arrived)
                    yield from self._decide_rung(number, pool, rung, complete=complete)
                final, entered = rung.closed, len(rung.passed)

    def knows(self, decision: Decision) -> bool:
        """Return whether the settings that a decision of an earlier process is about have been added."""
        return decision.pool < len(self._pools) and set(self._pools[decision.pool].settings).issuperset(decision.scores)

    def replay(self, decision: Decision) -> None:
        """Apply a decision of an earlier process."""
        pool = self._pools[decision.pool]
        rung = next(rung for rung in pool.rungs if rung.step == decision.step)
        rung.arrived |= {setting: [score] for setting, score in decision.scores.items()}
        rung.decided |= decision.scores.keys()
        rung.closed = decision.complete
        self._apply(pool, rung, decision.passed, decision.stopped)

    def _decide_rung(self, number: int, pool: _Pool, rung: _Rung, *, complete: bool) -> Iterator[Decision]:
        order = [setting for setting in pool.settings if setting in rung.arrived]  # whatever the order of arrival
        histories = [rung.arrived[setting] for setting in order]
        passing = [order[place] for place in passing_of(self._rule, histories, complete=complete)]
        passed = tuple(setting for setting in passing if setting not in rung.passed and setting not in pool.stopped)
        rung.closed = complete
        if not passed and not (complete and order):
            return
        out = rung.passed.union(passed, pool.stopped)
        stopped = tuple(setting for setting in order if setting not in out) if complete else ()
        self._apply(pool, rung, passed, stopped)
        known = set() if complete else rung.decided.difference(passed)
        scores = {setting: rung.arrived[setting][-1] for setting in order if setting not in known}
        rung.decided |= scores.keys()
        ranked = sorted(scores, key=lambda setting: (math.isnan(scores[setting]), -scores[setting]))
        yield Decision(
            step=rung.step,
            pool=number,
            arrived=len(order),
            scores={setting: scores[setting] for setting in ranked},
            passed=passed,
            stopped=stopped,
            complete=complete,
        )

    def _apply(self, pool: _Pool, rung: _Rung, passed: Sequence[str], stopped: Sequence[str]) -> None:
        rung.passed |= set(passed)
        pool.stopped |= set(stopped)
        for trial in self.trials((*passed, *stopped)):
            self._histories.pop(trial, None)
        for trial in self.trials(passed):
            if trial in self._ended:
                self.end(trial, *self._ended[trial])

    def _next_rung_of(self, setting: str) -> _Rung | None:
        pool = self._pool_of[setting]
        return next((rung for rung in pool.rungs if setting not in rung.passed), None)
