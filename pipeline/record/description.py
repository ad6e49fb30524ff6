"""A sweep's description in Markdown, as its parent run shows it while it runs and after."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.config.settings import swept_values, used_values
from pipeline.record.entries import Data
from pipeline.record.protocol import SweepHeader
from pipeline.results.cells import SHOWN, ended, interval, with_deviation
from pipeline.results.comparisons import at_the_end, conclusion, single_draw
from pipeline.results.repeats import setting_columns
from pipeline.results.summary import standing_for, values_of
from pipeline.results.tally import Standing, Tally, trial_columns
from tasks.events import Outcome

BEST = 5
RESUMED = " sweep.resume=true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """How to get at a record: the sweep's run, the store (without credentials), how to open it, links by trial key."""

    run_id: str
    uri: str
    look: str
    links: Mapping[str, str]


def describe(sweep: SweepHeader, data: Data, status: str, tally: Tally, reference: Reference) -> str:
    """Return what was swept, how far it got, the best trials and the commands to go on with."""
    return "\n".join(
        [
            f"**{sweep.name}**: {_progress(status, tally)}",
            "",
            *_what(data, tally),
            "",
            *(_best_settings(tally, reference.links) if _has_means(tally) else _best(tally, reference.links)),
            "",
            *([] if status == "RUNNING" else _conclusion(tally)),
            *_commands(sweep, status, tally, reference),
        ]
    )


def _progress(status: str, tally: Tally) -> str:
    diverged = sum(standing.outcome is Outcome.DIVERGED for standing in tally.standings.values())
    parts = [f"{tally.done} of {len(tally.standings)} trials done", f"{tally.failed} failed", f"{diverged} diverged"]
    if status == "RUNNING":
        parts.insert(1, f"{tally.running} running")
        parts.append(f"as of {time.strftime('%H:%M:%S %Z')}")
    return f"{status.lower()}, {', '.join(parts)}"


def _what(data: Data, tally: Tally) -> list[str]:
    examples = f"{data.train} training, {data.validation} validation and {data.test} test"
    telling = swept_values([used_values(standing.trial.trial) for standing in tally.standings.values()])
    lines = [f"- `{name}`: {values_of(name, values)}" for name, values in telling.items()]
    told = f"Data: {data.name}, {examples} examples, digest `{data.digest[:12]}`"
    return [told, "", "Swept:", "", *(lines or ["- nothing: one trial"])]


def _best(tally: Tally, links: Mapping[str, str]) -> list[str]:
    ranking = [standing for standing in tally.ranking() if standing.started][:BEST]
    if not ranking:
        return ["No trial has begun."]
    names = trial_columns(ranking, tally.criterion)
    rows = [_row(["", "trial", *names, "outcome"]), _row(["---:", "---", *["---:"] * len(names), "---"])]
    return rows + [_trial(place, standing, names, links) for place, standing in enumerate(ranking, start=1)]


def _has_means(tally: Tally) -> bool:
    """Return whether settings have more to say than trials: of repeats, in metrics that a table has a column for."""
    return tally.repeated and bool(trial_columns(tally.ranking(), tally.criterion))


def _best_settings(tally: Tally, links: Mapping[str, str]) -> list[str]:
    """Return a table of the best settings, each a link to its best repeat."""
    found = tally.settings({key: link.rpartition("/")[2] for key, link in links.items()})
    names = setting_columns(found, SHOWN)
    heads = [head for name in names for head in (name, "95 % interval")]
    rows = [_row(["", "setting", "repeats", *heads]), _row(["---:", "---", "---:", *["---:"] * len(heads)])]
    places = {link.rpartition("/")[2]: link for link in links.values()}
    for place, setting in enumerate(found[:BEST], start=1):
        name, best = setting.name.replace("|", "\\|"), setting.best
        link = places.get(best.run_id) if best else None
        summaries = [setting.summary(metric) for metric in names]
        numbers = [text for one in summaries for text in (with_deviation(one.mean, one.deviation), interval(one))]
        rows.append(_row([str(place), f"[{name}]({link})" if link else name, ended(setting), *numbers]))
    return rows


def _conclusion(tally: Tally) -> list[str]:
    """Return what the repeats say, in sentences; of a sweep without any, that there are none."""
    found = tally.settings()
    if not tally.repeated:
        told = [single_draw(found)] if any(tally.criterion.metric in one.metrics for one in tally.ranking()) else []
    else:
        told = [*conclusion(found), f"best trial, and registered model if there is one: {standing_for(tally)}"]
    return [*(f"- {sentence}" for sentence in (at_the_end(found), *told) if sentence), ""]


def _trial(place: int, standing: Standing, names: Sequence[str], links: Mapping[str, str]) -> str:
    name, link = standing.trial.name.replace("|", "\\|"), links.get(standing.trial.key)
    numbers = [f"{standing.metrics[column]:.4g}" if column in standing.metrics else "" for column in names]
    outcome = standing.ending or f"at step {standing.step}"
    if standing.message:
        outcome += ": " + standing.message.replace("|", "\\|").replace("\n", " ")
    return _row([str(place), f"[{name}]({link})" if link else name, *numbers, outcome])


def _commands(sweep: SweepHeader, status: str, tally: Tally, reference: Reference) -> list[str]:
    store = f"--tracking-uri {shlex.quote(reference.uri)}"
    commands = {}
    if "command" in sweep.provenance:
        commands["Run again"] = sweep.provenance["command"]
        if sweep.key and status in {"FAILED", "KILLED"}:
            commands["Resume"] = f"{sweep.provenance['command'].removesuffix(RESUMED)}{RESUMED}"
    commands["Open"] = reference.look.splitlines()[0]
    commands["Write as one page"] = f"python -m pipeline.report {reference.run_id} {store}"
    if tally.best is not None and tally.best.trial.key in reference.links:
        run_id = reference.links[tally.best.trial.key].rpartition("/")[2]
        commands["Reproduce the best"] = f"python -m pipeline.reproduce {run_id} {store}"
    return [line for what, command in commands.items() for line in (f"{what}:", "", "```", command, "```", "")]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
