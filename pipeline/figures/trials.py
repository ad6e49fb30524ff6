"""What the figures of a sweep ask of its trials: what they are told apart by, and what they have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.config.settings import settings, swept, text_of
from pipeline.plan.plan import PlannedTrial
from pipeline.record.sweep_run import TrialRecord
from tasks.events import Outcome


def used(trial: TrialRecord) -> dict[str, Any]:
    """Return the settings that a trial uses."""
    return settings(trial.standing.trial.trial)


def by_kind(trials: Sequence[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """Return the trials of each strategy, where models are swept of each model and strategy, by name in its order.

    Those of a task that has neither go by the task's name.
    """
    every = [used(trial) for trial in trials]
    telling = [name for name in ("model", "strategy") if len({one.get(name) for one in every}) > 1] or ["strategy"]
    kinds: dict[str, list[TrialRecord]] = {}
    for trial, one in zip(trials, every, strict=True):
        named = " ".join(str(one[name]) for name in telling if name in one)
        kinds.setdefault(named or str(one["task"]), []).append(trial)
    return dict(sorted(kinds.items()))


def models(trials: Sequence[TrialRecord]) -> set[str]:
    """Return the names of the trials' models."""
    return {str(used(trial).get("model")) for trial in trials}


def loss_name(trial: TrialRecord) -> str:
    """Return the name of a trial's loss, of a task that has one of its own an empty text."""
    return str(used(trial).get("loss", ""))


def measure(trials: Sequence[TrialRecord]) -> str:
    """Return the metric that the trials are ranked by."""
    return trials[0].standing.criterion.metric


def unit(metric: str) -> str:
    """Return what follows the numbers of a metric: an accuracy is shown in percent."""
    return " / %" if is_share(metric) else ""


def answer(trial: TrialRecord) -> float | None:
    """Return what a trial is ranked by, an accuracy in percent; None where it has nothing or diverged."""
    standing = trial.standing
    if not math.isfinite(standing.score):
        return None
    return 100 * standing.value if is_share(standing.criterion.metric) else standing.value


def told(value: float, metric: str) -> str:
    """Return what `answer` gives as a person writes it.

    >>> told(12.34, "val/accuracy"), told(0.01234, "val/loss")
    ('12.3 %', '0.0123')
    """
    return f"{value:.1f} %" if is_share(metric) else f"{value:.3g}"


def is_share(metric: str) -> bool:
    """Return whether a metric is a share, which is shown in percent."""
    return metric.endswith("accuracy")


def diverged(trial: TrialRecord) -> bool:
    """Return whether a trial diverged."""
    return trial.standing.outcome is Outcome.DIVERGED


def caption_of(trials: Sequence[TrialRecord]) -> str:
    """Return how many trials there are, on which data, and the settings that they have in common."""
    every = [used(trial) for trial in trials]
    varied = swept(every)
    common = {name: value for name, value in every[0].items() if all(one.get(name) == value for one in every)}
    means = max(trial.repeats for trial in trials) > 1
    hidden = {*varied, *(trials[0].standing.criterion.over if means else ())}
    kept = {name: value for name, value in common.items() if name not in hidden}
    many = f"means of {len(trials)} settings" if means else f"{len(trials)} trials"
    return f"{many} · {_caption(trials[0].standing.trial, kept)}"


def noun(trials: Sequence[TrialRecord]) -> str:
    """Return what one of them is called: of means, a setting."""
    return "setting" if max(trial.repeats for trial in trials) > 1 else "trial"


def caption_of_draws(trials: Sequence[TrialRecord]) -> str:
    """Return `caption_of` trials that are ranked, and what is to be known of such a ranking where none is repeated."""
    draws = "" if max(trial.repeats for trial in trials) > 1 else " · one seed each is one draw"
    return caption_of(trials) + draws


def caption_of_trial(trial: PlannedTrial) -> str:
    """Return on which data a trial is, and all settings that it uses."""
    return _caption(trial, settings(trial.trial))


def _caption(trial: PlannedTrial, values: Mapping[str, Any]) -> str:
    parts = [f"{name}={text_of(name, value)}" for name, value in values.items() if name != "task"]
    return " · ".join([f"dataset={trial.config['dataset']['name']}", *parts])
