"""The trials of a sweep for its figures: the values they use and share, their scores, and captions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm, Normalize

from pipeline.config.settings import counted, setting_values, text_of, used_values
from pipeline.figures.style import is_wide
from pipeline.plan.plan import PlannedTrial
from pipeline.results.criterion import is_share
from pipeline.results.curves import TrialRecord
from pipeline.results.numbers import number
from tasks.events import Outcome, Result

EARLY = "v"
"""The mark of what was stopped early."""

EARLY_NOTE = f"{EARLY}: stopped early, with its value there"


def by_kind(trials: Sequence[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """Return the trials of each strategy, or of each model and strategy if models are swept, sorted by name.

    The trials of a task that has neither are under the task's name.
    """
    every = [trial.standing.used for trial in trials]
    varied = [name for name in ("model", "strategy") if len({one.get(name) for one in every}) > 1] or ["strategy"]
    kinds: dict[str, list[TrialRecord]] = {}
    for trial, one in zip(trials, every, strict=True):
        named = " ".join(str(one[name]) for name in varied if name in one)
        kinds.setdefault(named or str(one["task"]), []).append(trial)
    return dict(sorted(kinds.items()))


def models(trials: Sequence[TrialRecord]) -> set[str]:
    """Return the names of the trials' models."""
    return {str(trial.standing.used.get("model")) for trial in trials}


def loss_of(trial: TrialRecord) -> str:
    """Return the name of a trial's loss, an empty text for a task with its own loss."""
    return str(trial.standing.used.get("loss", ""))


def ranking_metric(trials: Sequence[TrialRecord]) -> str:
    """Return the metric that the trials are ranked by."""
    return trials[0].standing.criterion.metric


def with_unit(metric: str) -> str:
    """Return a metric's name in labels, with its unit: an accuracy is shown in percent."""
    return f"{metric} / %" if is_share(metric) else metric


def factor(metric: str) -> float:
    """Return the factor of a metric's values in the unit of `with_unit`."""
    return 100.0 if is_share(metric) else 1.0


def is_logarithmic(metric: str, values: Sequence[float] | np.ndarray) -> bool:
    """Return whether values of a metric are shown on a logarithmic scale; a share is not, as none is above 100 %."""
    return is_wide(np.asarray(values)) and not is_share(metric)


def ranking_value(trial: TrialRecord) -> float | None:
    """Return a trial's ranking metric, an accuracy in percent; None if it has none or diverged."""
    standing = trial.standing
    if not math.isfinite(standing.score):
        return None
    return factor(standing.criterion.metric) * standing.value


def score_scale(trials: Sequence[TrialRecord]) -> Normalize:
    """Return the scale of the trials' ranking values, for colours; if all are equal, it begins below them.

    (It does not end above them: no accuracy is above 100 %.) It is logarithmic for values that span much: beside the
    loss of a trial that nearly diverged, all others would have one colour.
    """
    scores = [score for trial in trials if (score := ranking_value(trial)) is not None] or [0.0]
    low, high = min(scores), max(scores)
    if is_logarithmic(ranking_metric(trials), scores):
        return LogNorm(low, high)
    return Normalize(low if high - low > 1e-9 * abs(high) else high - (0.01 * abs(high) or 1.0), high)


def value_text(value: float, metric: str) -> str:
    """Return a value of `ranking_value` as text.

    >>> value_text(12.34, "val/accuracy"), value_text(0.01234, "val/loss")
    ('12.3 %', '0.0123')
    """
    return f"{value:.1f} %" if is_share(metric) else number(value, 3)


def stopped(trial: TrialRecord) -> bool:
    """Return whether a trial was stopped early: its last values are those of another step than the others'."""
    return trial.standing.outcome is Outcome.STOPPED


def caption_of(trials: Sequence[TrialRecord]) -> str:
    """Return the number of trials, their data set, and the values that all share."""
    every = [trial.standing.used for trial in trials]
    common = {name: value for name, value in every[0].items() if all(one.get(name) == value for one in every)}
    means = are_means(trials)
    kept = setting_values(common, trials[0].standing.criterion.over if means else ())
    many = f"{'means of ' if means else ''}{counted(len(trials), noun(trials))}"
    return f"{many} · {_caption(trials[0].standing.trial, kept)}"


def are_means(trials: Sequence[TrialRecord]) -> bool:
    """Return whether the records are means of repeats."""
    return any(trial.is_mean for trial in trials)


def noun(trials: Sequence[TrialRecord]) -> str:
    """Return what one of the records is: a trial, or a setting if they are means."""
    return "setting" if are_means(trials) else "trial"


def caption_of_draws(trials: Sequence[TrialRecord]) -> str:
    """Return `caption_of`, with a caution about the ranking if no trial is repeated."""
    draws = "" if are_means(trials) else " · one seed each is one draw"
    return caption_of(trials) + draws


def title_of_trial(trial: PlannedTrial, result: Result) -> str:
    """Return a trial's name, and how it ended if it did not complete."""
    end = "" if result.outcome is Outcome.COMPLETE else f" ({result.outcome.value} at step {result.step})"
    return f"{trial.name}{end}"


def caption_of_trial(trial: PlannedTrial) -> str:
    """Return a trial's data set, with its scaling if it has one, and all values that the trial uses."""
    return _caption(trial, used_values(trial.trial))


def _caption(trial: PlannedTrial, values: Mapping[str, Any]) -> str:
    parts = [f"{name}={text_of(name, value)}" for name, value in values.items() if (name, value) != ("task", "train")]
    dataset = trial.config["dataset"]
    scaling = dataset.get("scaling", "none")
    scaled = [] if scaling == "none" else [f"dataset.scaling={scaling}"]
    return " · ".join([f"dataset={dataset['name']}", *scaled, *parts])
