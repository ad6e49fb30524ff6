"""Trials in the groups that they may be fused in."""

from tasks.losses import LOSSES

KINDS = {type(kind.coordinates) for kind in LOSSES.values()}
"""Kinds of coordinates: a strategy that goes along them has a group for each, every other has one for all losses."""


def groups(trials):
    """Return the trials by what their task says they must have in common, in their order."""
    found = {}
    for trial in trials:
        found.setdefault(trial.task.fusion_key(trial), []).append(trial)
    assert len(found) in {1, len(KINDS)}, "whatever else differs, only the kind of the coordinates parts trials"
    return list(found.values())
