"""Reading a whole sweep back: its trials as a table, its figures and its circumstances."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.address import absolute
from pipeline.errors import RecordError
from pipeline.record.drawings import FIGURES
from pipeline.record.reading import get_run
from pipeline.record.store import connect
from pipeline.results.criterion import Criterion
from pipeline.results.repeats import COMPLETE, STOPPED, Repeat, Setting, ranked, ranked_repeats

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SweptRun:
    """A trial of a recorded sweep: its run, its outcome, its params and the last values of its metrics.

    ``setting`` are the key and the name of the setting that it repeats, empty in older records; ``stopped_at`` is the
    step of the rung at which it was stopped, infinite where it was not.
    """

    run_id: str
    name: str
    key: str
    outcome: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    setting: tuple[str, str] = ("", "")
    stopped_at: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSweep:
    """A sweep as its record holds it.

    Its ``runs`` and its ``settings`` stand the best first, ``best`` is the best run of the best setting; ``figures``
    are its own and ``winner`` those of the best run.
    """

    run_id: str
    name: str
    status: str
    tags: Mapping[str, str]
    criterion: Criterion
    runs: tuple[SweptRun, ...]
    settings: tuple[Setting, ...]
    best: SweptRun
    figures: Mapping[str, bytes]
    winner: Mapping[str, bytes]


def read_sweep(uri: str, run_id: str) -> RecordedSweep:
    """Read the record of the sweep with the parent run ``run_id`` in the store at ``uri``.

    Raises
    ------
    RecordError
        If the store does not answer, or holds no such sweep.
    """
    uri = absolute(uri)
    client = connect(uri, create=False)
    parent = get_run(client, uri, run_id)
    runs = _children(client, parent.info.experiment_id, run_id)
    criterion = Criterion.from_tags(parent.data.tags, {name for run in runs for name in run.metrics})
    runs.sort(key=lambda run: _rank(run, criterion))
    if not runs:
        raise RecordError(f"the run must be a sweep's parent run, got {run_id!r}, which has no trials")
    settings = _settings(runs, criterion)
    best = next((run for run in runs if settings[0].best and run.run_id == settings[0].best.run_id), runs[0])
    return RecordedSweep(
        run_id=run_id,
        name=parent.info.run_name,
        status=parent.info.status,
        tags=dict(parent.data.tags),
        criterion=criterion,
        runs=tuple(runs),
        settings=tuple(settings),
        best=best,
        figures=_figures(client, run_id),
        winner=_figures(client, best.run_id),
    )


def _children(client: Any, experiment_id: str, parent: str) -> list[SweptRun]:
    found: list[SweptRun] = []
    token = None
    while token != "":
        page = client.search_runs(
            [experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'", max_results=_AT_ONCE, page_token=token
        )
        found += [
            SweptRun(
                run_id=run.info.run_id,
                name=run.info.run_name,
                key=run.data.tags.get("key", ""),
                outcome=run.data.tags.get("outcome", run.info.status.lower()),
                params=dict(run.data.params),
                metrics={name: _number(value) for name, value in run.data.metrics.items()},
                setting=(run.data.tags.get("setting.key", ""), run.data.tags.get("setting", "")),
                stopped_at=_stopped_at(run.data.tags),
            )
            for run in page
        ]
        token = page.token or ""
    return found


def _settings(runs: Sequence[SweptRun], criterion: Criterion) -> list[Setting]:
    """Return the settings that runs repeat, the best first; an older record says by its runs' params which they are."""
    groups: dict[str, list[Repeat]] = {}
    names: dict[str, str] = {}
    for index, run in enumerate(runs):
        fixed = {name: value for name, value in sorted(run.params.items()) if name not in criterion.over}
        key = run.setting[0] or json.dumps(fixed)
        names.setdefault(key, run.setting[1] or run.name)
        repeat = Repeat(
            seeds=tuple((name, run.params[name]) for name in criterion.over if name in run.params),
            outcome=run.outcome,
            metrics=run.metrics,
            index=index,
            trial=run.name,
            run_id=run.run_id,
            stopped_at=run.stopped_at,
        )
        groups.setdefault(key, []).append(repeat)
    return ranked(
        Setting(key=key, name=names[key], repeats=ranked_repeats(repeats, criterion), criterion=criterion)
        for key, repeats in groups.items()
    )


def _rank(run: SweptRun, criterion: Criterion) -> tuple[bool, float, float, str]:
    """Order runs as a sweep's own table does: those that came furthest, and that diverged or failed last."""
    lost = run.outcome not in {COMPLETE, STOPPED}
    return lost, -run.stopped_at, -criterion.score(run.metrics), run.name


def _stopped_at(tags: Mapping[str, str]) -> float:
    return float(tags["outcome.step"]) if tags.get("outcome") == STOPPED else math.inf


def _figures(client: Any, run_id: str) -> dict[str, bytes]:
    names = [file.path for file in client.list_artifacts(run_id, FIGURES)]
    with tempfile.TemporaryDirectory() as folder:
        return {
            name.removeprefix(f"{FIGURES}/"): Path(client.download_artifacts(run_id, name, folder)).read_bytes()
            for name in sorted(names)
        }


def _number(value: float) -> float:
    # MLflow's SQL stores hold an infinity as the largest number.
    return value * float("inf") if abs(value) == sys.float_info.max else value
