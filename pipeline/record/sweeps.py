"""Reading a whole sweep back: its trials as a table, its figures and its circumstances."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.address import absolute
from pipeline.errors import RecordError
from pipeline.record.drawings import FIGURES
from pipeline.record.reading import get_run
from pipeline.record.store import connect
from pipeline.results.criterion import Criterion

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SweptRun:
    """A trial of a recorded sweep: its run, its outcome, its params and the last values of its metrics."""

    run_id: str
    name: str
    key: str
    outcome: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSweep:
    """A sweep as its record holds it: ``runs`` the best first, ``figures`` its own and ``winner`` those of the best."""

    run_id: str
    name: str
    status: str
    tags: Mapping[str, str]
    criterion: Criterion
    runs: tuple[SweptRun, ...]
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
    return RecordedSweep(
        run_id=run_id,
        name=parent.info.run_name,
        status=parent.info.status,
        tags=dict(parent.data.tags),
        criterion=criterion,
        runs=tuple(runs),
        figures=_figures(client, run_id),
        winner=_figures(client, runs[0].run_id),
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
            )
            for run in page
        ]
        token = page.token or ""
    return found


def _rank(run: SweptRun, criterion: Criterion) -> tuple[bool, float, str]:
    """Order runs as a sweep's own table does: those that diverged or failed last."""
    return run.outcome not in {"complete", "stopped early"}, -criterion.score(run.metrics), run.name


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
