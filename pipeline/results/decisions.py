"""The decisions at rungs as text: a sentence for each, and a table of the scores behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pipeline.reports import Decided
from pipeline.results.numbers import number


def sentence(decided: Decided) -> str:
    """Return a decision as a sentence: how many of how many settings go on from a rung, and the worst value of these.

    Where earlier decisions were about some of them, as with asha, it also says how many do not.
    """
    decision, cutoff = decided.decision, cutoff_of(decided)
    arrived, passed, stopped = decision.arrived, len(decision.passed), len(decision.stopped)
    # A rule may decide by more than the last values, so that one of these may be better and not go on.
    worst = "" if cutoff is None else f", {'the worst ' if passed > 1 else ''}with {decided.metric} {number(cutoff)}"
    pool = f" of pool {decision.pool}" if decision.pool else ""
    more = " more" if passed + stopped < arrived else ""
    rest = f", {stopped} {'does' if stopped == 1 else 'do'} not" if more and stopped else ""
    go = "goes" if passed == 1 else "go"
    return f"rung at step {decision.step}{pool}: {passed}{more} of {arrived} {go} on{worst}{rest}"


def cutoff_of(decided: Decided) -> float | None:
    """Return the value of the worst setting that goes on, None if none does."""
    passed = [decided.decision.scores[name] for name in decided.decision.passed]
    return _value(decided, min(passed)) if passed else None


def rows(decisions: Sequence[Decided]) -> list[dict[str, Any]]:
    """Return a row for each decision and each setting whose score it holds: its value, and what becomes of it.

    A setting with a trial that diverged or failed has no score, and is not said to be stopped.
    """
    return [
        {
            "decision": number,
            "step": decided.decision.step,
            "pool": decided.decision.pool,
            "setting": decided.names[setting],
            decided.metric: _value(decided, score),
            "becomes": "no score" if math.isnan(score) else _fate(decided, setting),
            "cut": cutoff_of(decided),
            "complete": decided.decision.complete,
            "key": setting,
        }
        for number, decided in enumerate(decisions)
        for setting, score in decided.decision.scores.items()
    ]


def tags(decisions: Sequence[Decided]) -> dict[str, str]:
    """Return the tags of the decisions: how many settings arrived at each rung, and how many went on."""
    if not decisions:
        return {}
    counts: dict[tuple[int, int], tuple[int, int]] = {}
    for one in (decided.decision for decided in decisions):
        _, gone = counts.get((one.pool, one.step), (0, 0))
        counts[one.pool, one.step] = (one.arrived, gone + len(one.passed))
    texts = [f"{step}: {gone} of {arrived}" for (_, step), (arrived, gone) in sorted(counts.items())]
    return {"rungs": ", ".join(texts), "rungs.metric": decisions[0].metric}


def _value(decided: Decided, score: float) -> float:
    return decided.sign * score + 0.0  # without the sign of a zero


def _fate(decided: Decided, setting: str) -> str:
    if setting in decided.decision.passed:
        return "goes on"
    return "stopped" if setting in decided.decision.stopped else "as before"
