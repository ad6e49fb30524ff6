"""Trials in the groups that they may be fused in, and the strategies that suites run over."""

from tasks.losses import LOSSES
from tasks.strategies import STRATEGIES

KINDS = {kind.coordinates for kind in LOSSES.values()}
"""Kinds of coordinates: a strategy that goes along them has a group for each, every other has one for all losses."""


STEADY = [name for name in STRATEGIES if name != "lbfgs"]
"""Strategies of minibatches too, and without a line search, which amplifies every rounding."""


def rates(**by_strategy):
    """Return a learning rate of every strategy, and name the strategies that have none."""
    lacking = sorted(STRATEGIES.keys() - by_strategy.keys())
    assert not lacking, f"a learning rate for strategy={', '.join(lacking)} is missing here"
    return by_strategy


def groups(trials):
    """Return the trials by what their task says they must have in common, in their order."""
    found = {}
    for trial in trials:
        found.setdefault(trial.task.fusion_key(trial), []).append(trial)
    assert len(found) in {1, len(KINDS)}, "whatever else differs, only the kind of the coordinates parts trials"
    return list(found.values())
