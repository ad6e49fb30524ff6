"""What a sweep comes to in numbers and in a line each: the metrics and params that its parent run shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.config.settings import settings, swept, text_of
from pipeline.results.cells import SHOWN
from pipeline.results.repeats import rows
from pipeline.results.tally import Tally
from tasks.events import Outcome

_REPORTED = ("val/accuracy", "test/accuracy")
_MOST_VALUES = 12

SWEPT = "swept"
"""The tag of a sweep's run that names the keys which were swept: it has been written to its end."""
_OUTCOMES = {
    "trials/failed": Outcome.FAILED,
    "trials/diverged": Outcome.DIVERGED,
    "trials/stopped": Outcome.STOPPED,
}


def metrics(tally: Tally) -> dict[str, float]:
    """Return how the trials ended, and what the best setting came to: its means with the ends of their intervals."""
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
    """Return what was swept, which setting is the best, and which of its trials stands for it."""
    found = {SWEPT: ", ".join(tally.swept()) or "nothing"}
    if tally.best is not None:
        found |= {"best.setting": tally.setting_name(tally.best.trial), "best.trial": standing_for(tally)}
    return found


def standing_for(tally: Tally) -> str:
    """Return the name of the trial that is registered as a model, and what it is of its setting."""
    if tally.best is None:
        return ""
    name = tally.best.trial.name
    if not tally.repeated:
        return name
    setting = tally.setting_name(tally.best.trial)
    count = len(tally.settings()[0].values(tally.criterion.metric))
    return f"{name}: the best of {count} repeats of {setting} by {tally.criterion.metric}, which is above their mean"


def params(tally: Tally) -> dict[str, str]:
    """Return what was swept, each key with its values, what was fixed, the data, and what ranks."""
    trials = [standing.trial for standing in tally.standings.values()]
    if not trials:
        return {}
    used = [settings(trial.trial) for trial in trials]
    varied = tally.swept()
    fixed = {name: value for name, value in used[0].items() if all(one.get(name) == value for one in used)}
    told = {f"swept.{name}": values_of(name, values) for name, values in varied.items()}
    told |= {name: text_of(name, value) for name, value in fixed.items() if name not in varied}
    ranked = {"sweep.metric": tally.criterion.metric, "sweep.mode": tally.criterion.mode}
    return ranked | {"dataset": str(trials[0].config["dataset"]["name"])} | told


def tables(tally: Tally, run_ids: Mapping[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Return the tables of results by name: of the settings, and of all trials; without repeats the two are one."""
    trials = [
        {**row, "run_id": run_ids.get(standing.trial.key, "")}
        for row, standing in zip(tally.table(), tally.ranking(), strict=True)
    ]
    if not tally.repeated:
        return {"results": trials}
    found = tally.settings(run_ids)
    return {"results": rows(found, list(swept([setting.used for setting in found])), SHOWN), "trials": trials}


def values_of(name: str, values: Sequence[Any]) -> str:
    """Return the values of a swept key as a person reads them, the first of many."""
    shown = ", ".join(text_of(name, value) for value in values[:_MOST_VALUES])
    return shown + (f", ... ({len(values)} values)" if len(values) > _MOST_VALUES else "")
