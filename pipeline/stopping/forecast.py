"""What a rule would come to, were settings as good from the first rung to the last: for a dry run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.stopping.ladder import Ladder
from pipeline.stopping.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """How many trials come to each rung, and to the end, and which ``share`` of all their steps that is."""

    came: Mapping[int, int]
    share: float


def forecast(rule: Rule, settings: Mapping[str, Sequence[str]], *, first: int, last: int, steps: int) -> Forecast:
    """Return the forecast for settings, each with its trials, of so many ``steps``; rungs are from first to last.

    >>> from pipeline.stopping.halving import Halving
    >>> forecast(Halving(), {str(k): [str(k)] for k in range(9)}, first=10, last=100, steps=100).came
    {10: 9, 30: 3, 90: 1, 100: 1}
    """
    ladder, came = Ladder(rule, first=first, steps=last), Counter[int]()
    ladder.enter(settings)
    worth = {trial: float(place) for place, trials in enumerate(settings.values()) for trial in trials}
    at = dict.fromkeys(worth, 0)
    running = list(worth)
    while running:
        for trial in running:
            rung = ladder.until(trial)
            at[trial] = rung or steps
            came[at[trial]] += 1
            if rung is not None:
                ladder.arrive(trial, [worth[trial]])
        passed = [setting for decision in ladder.decide(closed=True) for setting in decision.passed]
        running = [trial for setting in passed for trial in ladder.trials(setting)]
    return Forecast(came=dict(sorted(came.items())), share=sum(at.values()) / (steps * len(at)))
