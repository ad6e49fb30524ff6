"""A sweep's description in Markdown, as its parent run shows it while it runs and after."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.config.settings import settings, swept, text_of
from pipeline.record.protocol import SweepHeader
from pipeline.results.tally import Standing, Tally, columns
from tasks.datasets.dataset import Dataset
from tasks.events import Outcome

BEST = 5
RESUMED = " sweep.resume=true"
_MOST_VALUES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """How to get at a record: the sweep's run, the store (without credentials), how to open it, links by trial key."""

    run_id: str
    uri: str
    look: str
    links: Mapping[str, str]


def describe(sweep: SweepHeader, dataset: Dataset, status: str, tally: Tally, reference: Reference) -> str:
    """Return what was swept, how far it got, the best trials and the commands to go on with."""
    return "\n".join(
        [
            f"**{sweep.name}**: {_progress(status, tally)}",
            "",
            *_what(dataset, tally),
            "",
            *_best(tally, reference.links),
            "",
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


def _what(dataset: Dataset, tally: Tally) -> list[str]:
    examples = f"{len(dataset.train)} training, {len(dataset.validation)} validation and {len(dataset.test)} test"
    telling = swept([settings(standing.trial.trial) for standing in tally.standings.values()])
    lines = [f"- `{name}`: {_values(name, values)}" for name, values in telling.items()]
    data = f"Data: {dataset.name}, {examples} examples, digest `{dataset.digest[:12]}`"
    return [data, "", "Swept:", "", *(lines or ["- nothing: one trial"])]


def _values(name: str, values: Sequence[Any]) -> str:
    shown = ", ".join(text_of(name, value) for value in values[:_MOST_VALUES])
    return shown + (f", ... ({len(values)} values)" if len(values) > _MOST_VALUES else "")


def _best(tally: Tally, links: Mapping[str, str]) -> list[str]:
    ranking = [standing for standing in tally.ranking() if standing.started][:BEST]
    if not ranking:
        return ["No trial has begun."]
    names = columns(ranking, tally.criterion)
    rows = [_row(["", "trial", *names, "outcome"]), _row(["---:", "---", *["---:"] * len(names), "---"])]
    return rows + [_trial(place, standing, names, links) for place, standing in enumerate(ranking, start=1)]


def _trial(place: int, standing: Standing, names: Sequence[str], links: Mapping[str, str]) -> str:
    name, link = standing.trial.name.replace("|", "\\|"), links.get(standing.trial.key)
    numbers = [f"{standing.metrics[column]:.4g}" if column in standing.metrics else "" for column in names]
    outcome = standing.outcome.value if standing.outcome else f"at step {standing.step}"
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
