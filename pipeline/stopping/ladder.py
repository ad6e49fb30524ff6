"""Where settings stand on the rungs of a stopping rule, and who goes on: from results alone, without a clock."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.stopping.rule import History, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is decided at a rung, and what on: the settings that have arrived there with their scores, the best first.

    ``pool`` is the number of those that are compared with each other: a bracket, or what was proposed together.

    ``passed`` go on and ``stopped`` do not; who is neither, and has not passed before, is paused. ``complete`` says
    that nobody else will arrive.
    """

    step: int
    pool: int
    scores: Mapping[str, float]
    passed: tuple[str, ...]
    stopped: tuple[str, ...]
    complete: bool


@dataclass(slots=True, kw_only=True)
class _Rung:
    step: int
    arrived: dict[str, History] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    closed: bool = False


@dataclass(slots=True, kw_only=True)
class _Pool:
    """Settings that are compared with each other."""

    rungs: list[_Rung]
    settings: list[str] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)


class Ladder:
    """The rungs of a rule between ``first`` and ``steps``.

    A setting is one trial or the repeats of one, and is compared by their mean once all have arrived; one with a trial
    that diverged or failed does not pass.
    """

    def __init__(self, rule: Rule, *, first: int, steps: int) -> None:
        self._rule, self._first, self._steps = rule, first, steps
        self._pools: list[_Pool] = []
        self._pool_of: dict[str, _Pool] = {}
        self._members: dict[str, tuple[str, ...]] = {}
        self._setting_of: dict[str, str] = {}
        self._histories: dict[str, History] = {}  # of the trials that have arrived at their next rung

    def enter(self, settings: Mapping[str, Sequence[str]]) -> None:
        """Take in settings, each with the trials that are its repeats, spread over the brackets in turn."""
        brackets = self._rule.brackets
        if self._rule.together or not self._pools:
            self._pools += [
                _Pool(rungs=[_Rung(step=step) for step in self._rule.rungs(self._first, self._steps, bracket)])
                for bracket in range(brackets)
            ]
        for name, trials in settings.items():
            setting = name if name not in self._members else f"{name} {len(self._members)}"  # its repeats came before
            pool = self._pools[len(self._pools) - brackets + len(self._members) % brackets]
            pool.settings.append(setting)
            self._pool_of[setting], self._members[setting] = pool, tuple(trials)
            self._setting_of |= dict.fromkeys(trials, setting)
            for rung in pool.rungs:
                rung.closed = False

    def trials(self, setting: str) -> tuple[str, ...]:
        """Return the trials of a setting."""
        return self._members[setting]

    def until(self, trial: str) -> int | None:
        """Return the step of a trial's next rung, None where it is compared no more."""
        rung = self._next(self._setting_of[trial]) if trial in self._setting_of else None
        return None if rung is None else rung.step

    def is_out(self, trial: str) -> bool:
        """Return whether a trial's setting was stopped."""
        setting = self._setting_of.get(trial)
        return setting is not None and setting in self._pool_of[setting].stopped

    def arrive(self, trial: str, history: History) -> None:
        """Take in what a trial has measured up to its next rung, at which it is now."""
        setting = self._setting_of[trial]
        rung = self._next(setting)
        assert rung is not None, "a trial that has passed all rungs arrives at none"
        self._histories[trial] = history
        members = self._members[setting]
        if all(member in self._histories for member in members):
            columns = zip(*(self._histories[member] for member in members), strict=False)
            lost = any(math.isnan(self._histories[member][-1]) for member in members)
            rung.arrived[setting] = [math.nan] if lost else [sum(column) / len(members) for column in columns]

    def leave(self, trial: str) -> None:
        """Take in that a trial has ended before its next rung: it diverged, or failed."""
        if self.until(trial) is not None and not self.is_out(trial):
            self.arrive(trial, [math.nan])

    def decide(self, *, closed: bool) -> Iterator[Decision]:
        """Yield what can be decided now; ``closed`` says that no more settings will enter, or none for now."""
        for number, pool in enumerate(self._pools):
            final, entered = self._rule.together or closed, len(pool.settings)
            for rung in pool.rungs:
                complete = final and entered == len(rung.arrived)
                if not rung.closed and (decision := self._decided(number, pool, rung, complete=complete)) is not None:
                    yield decision
                final, entered = rung.closed, len(rung.passed)

    def know(self, decision: Decision) -> None:
        """Take in what an earlier process has decided."""
        pool = self._pools[decision.pool]
        rung = next(rung for rung in pool.rungs if rung.step == decision.step)
        rung.arrived |= {setting: [score] for setting, score in decision.scores.items()}
        rung.closed = decision.complete
        self._take(pool, rung, decision.passed, decision.stopped)

    def _decided(self, number: int, pool: _Pool, rung: _Rung, *, complete: bool) -> Decision | None:
        order = [setting for setting in pool.settings if setting in rung.arrived]  # not in that of their arrival
        histories = [rung.arrived[setting] for setting in order]
        passing = [order[place] for place in self._rule.passing(histories, complete=complete)]
        passed = tuple(setting for setting in passing if setting not in rung.passed)
        rung.closed = complete
        if not passed and not complete:
            return None
        out = rung.passed.union(passed, pool.stopped)
        stopped = tuple(setting for setting in order if setting not in out) if complete else ()
        self._take(pool, rung, passed, stopped)
        scores = {setting: rung.arrived[setting][-1] for setting in order}
        ranked = sorted(scores, key=lambda setting: (math.isnan(scores[setting]), -scores[setting]))
        return Decision(
            step=rung.step,
            pool=number,
            scores={setting: scores[setting] for setting in ranked},
            passed=passed,
            stopped=stopped,
            complete=complete,
        )

    def _take(self, pool: _Pool, rung: _Rung, passed: Sequence[str], stopped: Sequence[str]) -> None:
        rung.passed |= set(passed)
        pool.stopped |= set(stopped)
        for setting in (*passed, *stopped):
            for trial in self._members[setting]:
                self._histories.pop(trial, None)

    def _next(self, setting: str) -> _Rung | None:
        pool = self._pool_of[setting]
        return next((rung for rung in pool.rungs if setting not in rung.passed), None)
