"""A forecast of a stopping rule for a dry run, as if the ranking of the settings stayed the same at all rungs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.stopping.rule import Rule, passing_of
from pipeline.stopping.rung_system import RungSystem


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """How many trials do the steps to each rung and to the end, and the ``share`` of all their steps that is done."""

    reached: Mapping[int, int]
    share: float


def forecast(
    rule: Rule, settings: Mapping[str, Sequence[str]], *, first: int, last: int, steps: int
) -> Forecast | None:
    """Return the forecast for settings, each with its trials of ``steps`` steps; rungs are from first to last.

    It is None if the ranking does not decide alone: with the same last values, the rule stops others if curves rise.

    >>> from pipeline.stopping.halving import Halving
    >>> found = forecast(Halving(), {str(k): [str(k)] for k in range(9)}, first=10, last=100, steps=200)
    >>> found.reached, found.share == (6 * 10 + 2 * 30 + 200) / (9 * 200)
    ({10: 9, 30: 3, 90: 1, 200: 1}, True)
    """
    flat, rising = ([[place - rise, float(place)] for place in range(9)] for rise in (0.0, 100.0))
    if {*passing_of(rule, flat, complete=True)} != {*passing_of(rule, rising, complete=True)}:
        return None
    rungs = RungSystem(rule)
    rungs.add(settings, first=first, last=last)
    worth = {trial: float(place) for place, trials in enumerate(settings.values()) for trial in trials}
    at: dict[str, int] = {}
    compared_at = {steps}
    running = list(worth)
    while running:
        for trial in running:
            rung = rungs.next_rung(trial)
            at[trial] = rung or steps
            if rung is not None:
                compared_at.add(rung)
                rungs.arrive(trial, [worth[trial]])
        running = rungs.trials([setting for decision in rungs.decide(closed=True) for setting in decision.passed])
    # A bracket that begins to compare later also does the steps to the rungs of the others.
    reached = {step: sum(end >= step for end in at.values()) for step in sorted(compared_at)}
    return Forecast(reached=reached, share=sum(at.values()) / (steps * len(at)))
