"""The criterion that ranks the trials of a sweep: a metric, its direction, and the keys that repeats vary."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.config.schema import SEEDS, Config, Sweep
from tasks.datasets.dataset import Dataset
from tasks.errors import ConfigError, unknown_choice
from tasks.rows import identity
from tasks.trial import DeclaresMetrics, Trial

_METRIC, _MODE, _OVER = "sweep.metric", "sweep.mode", "sweep.over"

OBJECTIVES = "search.objectives"
"""The tag of a sweep's run that holds the objectives of its search."""

_LESS_IS_BETTER = ("loss", "error", "examples", "evaluations")
"""The endings of the names of metrics of which less is better, for a sweep and for a search."""

_SHOWN = ("val/accuracy", "train/accuracy", "test/accuracy", "train/loss", "val/loss")


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """The metric that ranks trials, its ``mode`` (max or min is best), and the keys that repeats vary.

    ``objectives`` are those of a search, each a direction (maximize or minimize) and a metric.
    """

    metric: str = "val/accuracy"
    mode: str = "max"
    over: tuple[str, ...] = SEEDS
    objectives: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, sweep: Sweep, dataset: Dataset, objectives: tuple[tuple[str, str], ...] = ()) -> Criterion:
        """Return the criterion of a sweep; by default the accuracy, of training if only that has examples.

        A task that brings its own data (``dataset=none``) is taken to have a validation set.
        """
        unvalidated = len(dataset.train) and not len(dataset.validation)
        metric = sweep.metric or ("train/accuracy" if unvalidated else "val/accuracy")
        return cls(metric=metric, mode=sweep.mode or mode_of(metric), over=sweep.over, objectives=objectives)

    @classmethod
    def from_tags(cls, tags: Mapping[str, str], measured: Collection[str]) -> Criterion:
        """Return the criterion of a recorded sweep; older records do not hold it, and were ranked by accuracy."""
        accuracy = "val/accuracy" if "val/accuracy" in measured else "train/accuracy"
        over = tuple(tags.get(_OVER, ",".join(SEEDS)).split(","))
        texts = (one.partition(" ") for one in tags.get(OBJECTIVES, "").split(", ") if one)
        objectives = tuple((direction, metric) for direction, _, metric in texts)
        return cls(metric=tags.get(_METRIC, accuracy), mode=tags.get(_MODE, "max"), over=over, objectives=objectives)

    def tags(self) -> dict[str, str]:
        """Return the tags of a sweep's record that hold the criterion: the inverse of `from_tags`."""
        found = {OBJECTIVES: ", ".join(map(" ".join, self.objectives))} if self.objectives else {}
        return {_METRIC: self.metric, _MODE: self.mode, _OVER: ",".join(self.over)} | found

    def score(self, metrics: Mapping[str, float]) -> float:
        """Return the score of metrics, larger is better: minus infinity if the metric has no finite value."""
        value = metrics.get(self.metric, math.nan)
        return self.sign * value if math.isfinite(value) else -math.inf

    def columns(self, every: Iterable[Mapping[str, float]], shown: Sequence[str] = _SHOWN) -> list[str]:
        """Return the metrics that a table shows, if any has them: what ranks, the objectives, those of a training."""
        measured = {name for metrics in every for name in metrics}
        return [name for name in dict.fromkeys((*self.metrics, *shown)) if name in measured]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metric that ranks, and those of the objectives."""
        return self.metric, *(metric for _, metric in self.objectives)

    @property
    def sign(self) -> int:
        """The factor between a value of the metric and a score: 1 or -1."""
        return 1 if self.mode == "max" else -1


def on_front(values: Sequence[Sequence[float]], directions: Sequence[str]) -> list[bool]:
    """Return which values, one for each of the directions, are on the Pareto front.

    No others are at least as good in everything, and better in something.

    >>> on_front([(0.9, 100.0), (0.8, 50.0), (0.8, 100.0), (float("nan"), 10.0)], ["maximize", "minimize"])
    [True, True, False, False]
    """
    points = np.array(values) * [1 if direction == "maximize" else -1 for direction in directions]
    return [
        bool(np.isfinite(one).all() and not ((points >= one).all(axis=1) & (points > one).any(axis=1)).any())
        for one in points
    ]


def mode_of(metric: str) -> str:
    """Return which end of a metric is best, by its name: min or max.

    >>> mode_of("val/loss"), mode_of("val/accuracy")
    ('min', 'max')
    """
    return "min" if metric.endswith(_LESS_IS_BETTER) else "max"


def guessed(config: Config) -> list[str]:
    """Return a sentence for each metric of a sweep of which neither its config nor its name says which end is best.

    >>> from pipeline.config.schema import parse
    >>> guessed(parse({"sweep": {"metric": "f1"}})), guessed(parse({"sweep": {"metric": "val/loss"}}))
    (['sweep.metric=f1: the largest is best (sweep.mode=min: the smallest)'], [])
    """
    asked = {
        "sweep": config.sweep,
        "stopping": config.stopping if config.stopping.metric != config.sweep.metric else None,
    }
    return [
        f"{group}.metric={one.metric}: the largest is best ({group}.mode=min: the smallest)"
        for group, one in asked.items()
        if one and one.metric and one.mode is None and not one.metric.endswith((*_LESS_IS_BETTER, "accuracy"))
    ]


def is_share(metric: str) -> bool:
    """Return whether a metric is a share, by its name: one is shown in percent."""
    return metric.endswith("accuracy")


def check_metric(sweep: Sweep, trials: Iterable[Trial], dataset: Dataset, *, key: str = _METRIC) -> None:
    """Refuse, before anything starts, a metric that no trial will report, as far as the tasks declare their metrics.

    ``key`` is the config key that names the metric.

    Raises
    ------
    ConfigError
        If the metric is none of those that the trials' tasks declare.
    """
    tasks = list({identity(trial.task): trial.task for trial in trials}.values())
    if sweep.metric is None or not all(isinstance(task, DeclaresMetrics) for task in tasks):
        return
    known = {name for task in tasks if isinstance(task, DeclaresMetrics) for name in task.metrics(dataset)}
    if sweep.metric.startswith("val/") and sweep.metric not in known and not len(dataset.validation):
        raise ConfigError(f"{key} must be measured, got {sweep.metric!r} without a validation set")
    if sweep.metric not in known:
        raise unknown_choice(key, sweep.metric, known)
