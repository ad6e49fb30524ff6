"""The proposals of a search as a table, and its sampler, objectives and importances as tags."""

from __future__ import annotations

from typing import Any

from pipeline.reports import Searched
from pipeline.results.criterion import OBJECTIVES


def rows(searched: Searched) -> list[dict[str, Any]]:
    """Return a row for each proposal: what it was, how many ends were known when it was made, and what it came to."""
    return [
        {"proposal": one.number, **one.params, "known": one.known, "outcome": one.outcome or "not finished"}
        | dict(zip(searched.metrics, one.values, strict=False))
        for one in searched.proposals
    ]


def tags(searched: Searched) -> dict[str, str]:
    """Return the tags for the sampler, the objectives and the importances."""
    found = {
        "search.sampler": searched.sampler,
        OBJECTIVES: ", ".join(map(" ".join, zip(searched.directions, searched.metrics, strict=True))),
        "search.proposals": str(len(searched.proposals)),
    }
    if searched.importances:
        shares = (f"{key} {share:.3f}" for key, share in searched.importances.items())
        found["search.importances"] = ", ".join(shares)
    return found
