"""The decisions at rungs as text: a sentence for each, and a table of the scores behind them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from pipeline.reports import Decided


def sentence(decided: Decided) -> str:
    """Return a decision as a sentence: how many of how many settings go on from a rung, and from which value on.

    Where earlier decisions were about some of them, as with asha, it also says how many do not.
    """
    decision, cutoff = decided.decision, cutoff_of(decided)
    arrived, passed, stopped = len(decision.scores), len(decision.passed), len(decision.stopped)
    worst = "" if cutoff is None else f", from {decided.metric} {cutoff:.4g} on"
    pool = f" of pool {decision.pool}" if decision.pool else ""
    more = " more" if passed + stopped < arrived else ""
    rest = f", {stopped} {'does' if stopped == 1 else 'do'} not" if more and stopped else ""
    return f"rung at step {decision.step}{pool}: {passed}{more} of {arrived} go on{worst}{rest}"


def cutoff_of(decided: Decided) -> float | None:
    """Return the value of the worst setting that goes on, None if none does."""
    passed = [decided.decision.scores[name] for name in decided.decision.passed]
    return decided.sign * min(passed) if passed else None


def rows(decisions: Sequence[Decided]) -> list[dict[str, Any]]:
    """Return a row for each decision and each setting whose score it holds: its value, and whether it goes on."""
    return [
        {
            "decision": number,
            "step": decided.decision.step,
            "pool": decided.decision.pool,
            "setting": decided.names[setting],
            decided.metric: decided.sign * score,
            "becomes": _fate(decided, setting),
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
    arrived: defaultdict[tuple[int, int], set[str]] = defaultdict(set)
    gone: Counter[tuple[int, int]] = Counter()
    for one in (decided.decision for decided in decisions):
        arrived[one.pool, one.step] |= one.scores.keys()
        gone[one.pool, one.step] += len(one.passed)
    texts = [f"{rung[1]}: {gone[rung]} of {len(came)}" for rung, came in sorted(arrived.items())]
    return {"rungs": ", ".join(texts), "rungs.metric": decisions[0].metric}


def _fate(decided: Decided, setting: str) -> str:
    if setting in decided.decision.passed:
        return "goes on"
    return "stopped" if setting in decided.decision.stopped else "as before"
