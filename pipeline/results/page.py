"""A sweep on MLflow's pages: the view of its trials, its description in Markdown, and its tables."""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.address import how_to_look
from pipeline.results.cells import setting_table, value_of
from pipeline.results.comparisons import findings
from pipeline.results.repeats import FRONT, on_front_of
from pipeline.results.standing import Standing
from pipeline.results.summary import standing_for, values_of
from pipeline.results.tally import Tally
from tasks.events import Outcome

VIEW_TAG = "mlflow.sharedViewState."
"""The prefix of the experiment's tags that hold views; a link to a view holds the rest of the name."""

SETTING_TAG = "setting"
"""The tag of a run that names its setting."""

RESULTS_TAG = {"mlflow.loggedArtifacts": json.dumps([{"path": "results.json", "type": "table"}])}
"""The tag by which MLflow's UI finds the table of results."""

BEST = 5
RESUME_OVERRIDE = " sweep.resume=true"

_METRICS = ("val/accuracy", "test/accuracy", "train/loss")
_MOST_PARAMS = 12
_NOTHING_SWEPT = "- nothing: one trial"


def sweep_view(tally: Tally, run_id: str) -> tuple[str, str]:
    """Return the name and value of the tag that makes the view of the sweep with this parent run.

    The UI writes such a tag when a person shares a view. The view has the sweep's trials only, the best first, with
    columns for the swept values. If there are repeats, the table and the charts group them by their setting.
    """
    criterion = tally.criterion
    state = {
        "searchFilter": f"tags.`mlflow.parentRunId` = '{run_id}'",
        "orderByKey": f"metrics.`{criterion.metric}`",
        "orderByAsc": criterion.mode == "min",
        "selectedColumns": [
            *(f"metrics.`{name}`" for name in dict.fromkeys((*criterion.metrics, *_METRICS))),
            *(f"params.`{name}`" for name in list(tally.swept())[:_MOST_PARAMS]),
            "tags.`outcome`",
        ],
    }
    if tally.repeated:
        by_setting = [{"mode": "tag", "groupByData": SETTING_TAG}]
        state |= {"groupBy": {"aggregateFunction": "average", "groupByKeys": by_setting}}
        state |= {"useGroupedValuesInCharts": True}
    return VIEW_TAG + run_id, json.dumps(state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a page holds besides results: the sweep's name, its ``data`` in a line, its ``command``, and its links.

    ``command`` is empty if it is unknown, ``resumable`` says whether it can resume the sweep. The links are the sweep's
    run, the store (``uri`` without credentials) and its experiment. ``size`` is how many trials there are, with those
    that a search will propose.
    """

    name: str
    size: int
    data: str
    command: str
    resumable: bool
    run_id: str
    uri: str
    experiment: str

    def link(self, name: str, run_id: str) -> str:
        """Return a name as a cell of a table, linked to its run if it has one."""
        name = name.replace("|", "\\|")
        return f"[{name}](#/experiments/{self.experiment}/runs/{run_id})" if run_id else name


def describe(subject: Subject, status: str, tally: Tally) -> str:
    """Return the description: the swept values, the progress, the best trials, and commands for the record.

    While the sweep runs it has no intervals and no comparisons, which take long to compute.
    """
    running = status == "RUNNING"
    return "\n".join(
        [
            f"**{subject.name}**: {_progress(status, tally, subject)}",
            "",
            f"Data: {subject.data}",
            "",
            "Swept:",
            "",
            *([f"- `{name}`: {values_of(name, values)}" for name, values in tally.swept().items()] or [_NOTHING_SWEPT]),
            "",
            *((_best_settings if _has_means(tally) else _best)(tally, subject, running=running)),
            "",
            *([] if running else _conclusion(tally)),
            *_commands(subject, status, tally),
        ]
    )


def table_files(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """Return rows as CSV, and as the table that MLflow's UI shows, by file name; a cell that a row lacks is empty.

    NaN and infinity, which JSON lacks, are null in the UI's table. MLflow's own ``log_table`` writes the same through
    pandas, but appends to an existing table.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    table = {"columns": columns, "data": [[_json(row.get(column)) for column in columns] for row in rows]}
    cells = text.getvalue().encode(errors="backslashreplace")
    return {f"{name}.csv": cells, f"{name}.json": json.dumps(table).encode()}


def _progress(status: str, tally: Tally, subject: Subject) -> str:
    running, known = status == "RUNNING", len(tally.standings)
    diverged = sum(standing.outcome is Outcome.DIVERGED for standing in tally.standings.values())
    size = max(known, subject.size) if running else known
    parts = [f"{tally.done} of {size} trials done", f"{tally.failed} failed", f"{diverged} diverged"]
    if running:
        parts.insert(1, f"{tally.running} under way")  # or paused at a rung, which no log says
        parts.append(f"as of {time.strftime('%H:%M:%S %Z')}")
    return f"{status.lower()}, {', '.join(parts)}"


def _best(tally: Tally, subject: Subject, *, running: bool) -> list[str]:
    first = tally.first(BEST)
    if not first:
        return ["No trial has begun."]
    measured = {name for standing in first for name in standing.metrics}
    names = tally.criterion.columns(standing.metrics for standing in first) or sorted(measured)
    front = {} if running else on_front_of(tally.settings())
    heads = [*names, *([FRONT] if front else [])]
    rows = [_row(["", "trial", *heads, "outcome"]), _row(["---:", "---", *["---:"] * len(heads), "---"])]
    for place, standing in enumerate(first, start=1):
        cells = [*(value_of(standing.metrics, name) for name in names), *([front[standing.setting]] if front else [])]
        rows.append(_trial(place, standing, cells, subject))
    return rows


def _has_means(tally: Tally) -> bool:
    """Return whether there are means of repeats, in metrics for which the table has a column."""
    return tally.repeated and any(tally.criterion.columns([one.metrics]) for one in tally.standings.values())


def _best_settings(tally: Tally, subject: Subject, *, running: bool) -> list[str]:
    """Return a table of the best settings, each a link to its best repeat."""
    found = tally.leading(BEST) if running else tally.settings()
    heads, table = setting_table(found, most=BEST, ended=not running)
    rows = [_row(["", *heads]), _row(["---:", "---", *["---:"] * (len(heads) - 1)])]
    for place, (setting, (name, *cells)) in enumerate(zip(found, table, strict=False), start=1):
        rows.append(_row([str(place), subject.link(name, setting.best.run_id if setting.best else ""), *cells]))
    return rows


def _conclusion(tally: Tally) -> list[str]:
    """Return what the sweep shows, in sentences, with the best of repeats."""
    best = standing_for(tally) if tally.repeated else ""
    told = [f"best trial, and registered model if there is one: {best}"] if best else []
    return [*(f"- {sentence}" for sentence in (*findings(tally.settings()), *told)), ""]


def _trial(place: int, standing: Standing, cells: Sequence[str], subject: Subject) -> str:
    outcome = standing.ending if standing.outcome else f"at step {standing.step}"
    if standing.message:
        outcome += ": " + standing.message.replace("|", "\\|").replace("\n", " ")
    return _row([str(place), subject.link(standing.trial.name, standing.run_id), *cells, outcome])


def _commands(subject: Subject, status: str, tally: Tally) -> list[str]:
    store = f"--tracking-uri {shlex.quote(subject.uri)}"
    commands = {}
    if subject.command:
        commands["Run again"] = subject.command
        if subject.resumable and status in {"FAILED", "KILLED"}:
            commands["Resume"] = f"{subject.command.removesuffix(RESUME_OVERRIDE)}{RESUME_OVERRIDE}"
    look = how_to_look(subject.uri, subject.experiment, sweep=subject.run_id, run=None)
    commands["Open"] = look.splitlines()[0]
    commands["Write as one page"] = f"python -m pipeline.report {subject.run_id} {store}"
    if tally.best is not None and tally.best.run_id:
        commands["Reproduce the best"] = f"python -m pipeline.reproduce {tally.best.run_id} {store}"
    return [line for what, command in commands.items() for line in (f"{what}:", "", "```", command, "```", "")]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)
