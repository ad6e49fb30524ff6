"""The summary of a sweep: the metrics, params, tags and tables of its parent run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pipeline.config.settings import in_a_line, param_of, swept_values, text_of
from pipeline.results.repeats import setting_rows
from pipeline.results.tally import Tally
from tasks.events import Outcome

_REPORTED = ("val/accuracy", "test/accuracy")
_MOST_VALUES = 12

SWEPT = "swept"
"""The tag of a sweep's run that names the swept keys; it is written at the end of the sweep."""
_OUTCOMES = {
    "trials/failed": Outcome.FAILED,
    "trials/diverged": Outcome.DIVERGED,
    "trials/stopped": Outcome.STOPPED,
}


def metrics(tally: Tally) -> dict[str, float]:
    """Return how many trials ended in which way, and the means of the best setting with their intervals."""
    outcomes = [standing.outcome for standing in tally.standings.values()]
    numbers: dict[str, float] = {"trials/done": tally.done}
    numbers |= {name: outcomes.count(outcome) for name, outcome in _OUTCOMES.items()}
    if tally.best is None:
        return numbers
    best = tally.settings()[0]
    numbers["best/repeats"] = len(best.values(tally.criterion.metric))
    for name in dict.fromkeys((tally.criterion.metric, *_REPORTED)):
        summary = best.summary(name)
        ends = {f"best/{name}": summary.mean, f"best/{name}/low": summary.low, f"best/{name}/high": summary.high}
        numbers |= {key: value for key, value in ends.items() if math.isfinite(value)}
    return numbers


def tags(tally: Tally) -> dict[str, str]:
    """Return the best setting, and the trial that is registered for it."""
    if tally.best is None:
        return {}
    return {"best.setting": tally.setting_name(tally.best.trial), "best.trial": standing_for(tally)}


def swept_tag(tally: Tally) -> dict[str, str]:
    """Return the tag of the swept keys, which is there once the params are."""
    return {SWEPT: ", ".join(tally.swept()) or "nothing"}


def standing_for(tally: Tally) -> str:
    """Return the name of the trial that is registered as a model, and its relation to its setting."""
    if tally.best is None:
        return ""
    name, metric = tally.best.trial.name, tally.criterion.metric
    if not tally.repeated:
        return name
    setting = tally.setting_name(tally.best.trial)
    count = len(tally.settings()[0].values(metric))
    if count < 2:
        return f"{name}: the only repeat of {setting} with a value of {metric}"
    return f"{name}: the best of {count} repeats of {setting} by {metric}, at least as good as their mean"


def params(tally: Tally) -> dict[str, str]:
    """Return the swept keys with their values, the fixed keys, the data set, and the criterion."""
    standings = list(tally.standings.values())
    if not standings:
        return {}
    used, varied = [standing.used for standing in standings], tally.swept()
    fixed = {name: value for name, value in used[0].items() if all(one.get(name) == value for one in used)}
    texts = {f"swept.{name}": values_of(name, values) for name, values in varied.items()}
    texts |= {name: param_of(value) for name, value in fixed.items() if name not in varied}
    criterion = {"sweep.metric": tally.criterion.metric, "sweep.mode": tally.criterion.mode}
    return criterion | {"dataset": str(standings[0].trial.config["dataset"]["name"])} | texts


def tables(tally: Tally) -> dict[str, list[dict[str, Any]]]:
    """Return the tables of results by name: one of settings and one of trials, or, without repeats, one of trials."""
    if not tally.repeated:
        return {"results": tally.table()}
    found = tally.settings()
    swept = list(swept_values([setting.used for setting in found]))
    return {"results": setting_rows(found, swept), "trials": tally.table()}


def values_of(name: str, values: Sequence[Any]) -> str:
    """Return the values of a swept key as text; many numbers, such as those of a search, as their range.

    >>> values_of("steps", [3, 1, 2]), values_of("learning_rate", [0.5, *range(1, 13), 0.25])
    ('3, 1, 2', '0.25 to 12 (14 values)')
    """
    count = f" ({len(values)} values)"
    if len(values) <= _MOST_VALUES:
        return ", ".join(in_a_line(text_of(name, value)) for value in values)
    if all(isinstance(value, int | float) for value in values):
        return f"{text_of(name, min(values))} to {text_of(name, max(values))}{count}"
    return ", ".join(in_a_line(text_of(name, value)) for value in values[:_MOST_VALUES]) + f", ...{count}"
