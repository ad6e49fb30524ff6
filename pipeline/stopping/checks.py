"""Checks, before anything starts, that a stopping rule can compare the trials of a sweep."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from pipeline.stopping.rule import Rule, passing_of, rungs_of
from tasks.datasets.dataset import Dataset
from tasks.errors import require, require_choice
from tasks.rows import identity
from tasks.trial import DeclaresMetrics, DeclaresPoints, Task, Trial

_SHOWN = 5
"""The most rungs that a message lists."""


def check(rule: Rule, trials: Sequence[Trial], *, metric: str, dataset: Dataset) -> None:
    """Raise a `ConfigError` where a rule cannot compare trials by a metric, as far as their tasks declare theirs.

    Trials of tasks that do not train are not compared.
    """
    compared = [trial for trial in trials if trial.task.trains]
    if not rule.stops or not compared:
        return
    for task in {identity(trial.task): trial.task for trial in compared}.values():
        if (known := _declared(task, dataset)) is not None:
            require_choice("stopping.metric", metric, known)
    key = _key_of_points(compared[0], metric)
    for name in ("steps", key):
        values = sorted({getattr(trial, name.removeprefix("trial.")) for trial in compared})
        require(len(values) == 1, name, "must be the same in all trials that are compared at rungs", values)
    steps, every = compared[0].steps, _every(compared[0], key)
    first, last = rung_range(rule, compared[0], metric)
    require(last <= steps, "stopping.max_steps", f"must be at most the {steps} steps of a trial", last)
    below = f"must be below the {last} steps of {'stopping.max_steps' if rule.max_steps else 'a trial'}"
    require(rungs_of(rule, first, last, 0), "stopping.min_steps", below, first)
    of_brackets = (rungs_of(rule, first, last, bracket) for bracket in range(rule.brackets))
    brackets = list(itertools.takewhile(bool, of_brackets))
    most = f"must be at most {len(brackets)}, so that each has a rung below {last} steps"
    require(len(brackets) == rule.brackets, "stopping.brackets", most, rule.brackets)
    for rungs in brackets:
        ascending = [*rungs] == sorted({*rungs}) and first <= rungs[0] and rungs[-1] < last
        require(ascending, f"{type(rule).__name__}.rungs", f"must ascend from {first} and stay below {last}", rungs)
    for arrived in ([], [[0.1], [0.3], [math.nan]], [[0.1, 0.2], [0.3, 0.1]]):
        for complete in (False, True):
            passing_of(rule, arrived, complete=complete)
    between = sorted({rung for rungs in brackets for rung in rungs if rung % every})
    more = f" and {len(between) - _SHOWN} more" if len(between) > _SHOWN else ""
    measured = f"must make rungs at which {metric} is measured ({key}={every}), none at {between[:_SHOWN]}{more}"
    require(not between, "stopping.min_steps", measured, first)


def rung_range(rule: Rule, trial: Trial, metric: str) -> tuple[int, int]:
    """Return the first rung of a trial, by default where the metric is first measured, and the step all are below."""
    return rule.min_steps or _every(trial, _key_of_points(trial, metric)), rule.max_steps or trial.steps


def _key_of_points(trial: Trial, metric: str) -> str:
    """Return the key that says how often a trial's metric is measured; a user's own task reports all at once."""
    every = trial.task.measured_every if isinstance(trial.task, DeclaresPoints) else {}
    return every.get(metric, "trial.evaluate_every")


def _declared(task: Task, dataset: Dataset) -> list[str] | None:
    """Return the metrics by which a task's trials can be compared, None where it does not declare any."""
    if isinstance(task, DeclaresPoints):
        return [name for name in task.measured_every if len(dataset.validation) or not name.startswith("val/")]
    return sorted(task.metrics(dataset)) if isinstance(task, DeclaresMetrics) else None


def _every(trial: Trial, key: str) -> int:
    return int(getattr(trial, key.removeprefix("trial.")))
