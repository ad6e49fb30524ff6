"""What a record holds of a sweep that was not finished: its parent run, the trials that ended, and the orphans."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pipeline.address import absolute
from pipeline.errors import RecordError
from pipeline.record.drawings import FIGURES
from pipeline.record.protocol import CLOCKED, OtherSweep, Past
from pipeline.record.reading import read_run
from pipeline.record.store import Store, connect
from pipeline.reports import Layout
from tasks.events import Curve, Outcome, Result

SWEEP_KEY = "sweep.key"
RESUMED = "resumed"
"""The tag of a sweep's parent run that says how often it has been resumed."""

_PAGE = 1000
_LATEST = 20
"""Sweeps that one which cannot be resumed is compared with."""

_UNENDED = ("RUNNING", "SCHEDULED")


def find_past(uri: str, experiment: str, sweep_key: str) -> Past | None:
    """Return what the record holds of the latest sweep with this key, None where there is none."""
    client = connect(absolute(uri), create=True)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    parents = client.search_runs(
        [found.experiment_id],
        f"tags.`{SWEEP_KEY}` = '{sweep_key}'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    if not parents:
        return None
    parent = parents[0].info.run_id
    ended, orphans = {}, []
    for run in _children(client, found.experiment_id, parent):
        if run.info.status == "FINISHED" and "key" in run.data.tags:
            ended[run.data.tags["key"]] = (run.info.run_id, _result(run.data.tags, run.data.metrics))
        elif run.info.status in _UNENDED:
            orphans.append(run.info.run_id)
    return Past(run_id=parent, tags=dict(parents[0].data.tags), ended=ended, orphans=tuple(orphans))


def others(uri: str, experiment: str) -> list[OtherSweep]:
    """Return what the record holds of its latest sweeps, the latest first."""
    client = connect(absolute(uri), create=True)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    parents = client.search_runs(
        [found.experiment_id],
        f"tags.`{SWEEP_KEY}` LIKE '%'",
        order_by=["attributes.start_time DESC"],
        max_results=_LATEST,
    )
    sweeps = []
    for parent in parents:
        runs = [*_children(client, found.experiment_id, parent.info.run_id), parent]
        sweeps.append(
            OtherSweep(
                run_id=parent.info.run_id,
                name=parent.info.run_name,
                tags=dict(parent.data.tags),
                params=tuple(dict(run.data.params) for run in runs[:-1]),
                unended=tuple(run.info.run_id for run in runs if run.info.status in _UNENDED),
            )
        )
    return sweeps


def abandon(uri: str, sweep: OtherSweep) -> None:
    """End the runs of a sweep that nobody computes any more as KILLED."""
    client = connect(absolute(uri), create=True)
    for run_id in sweep.unended:
        client.set_tag(run_id, "outcome", "killed")
        client.set_tag(run_id, "outcome.message", "its process ended without a word, and nobody went on with it")
        client.set_terminated(run_id, "KILLED")


def _children(client: Any, experiment_id: str, parent: str) -> Iterator[Any]:
    page = None
    while page != "":
        runs = client.search_runs(
            [experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'", max_results=_PAGE, page_token=page
        )
        yield from runs
        page = runs.token or ""


def adopt(store: Store, past: Past, tags: Mapping[str, str], *, ours: Collection[str]) -> None:
    """Go on with a sweep's parent run, and give it ``tags``.

    Its orphans are ended as KILLED, but for those whose own names are among ``ours``: their end is in the log.
    """
    store.client.update_run(past.run_id, status="RUNNING")
    resumed = str(int(past.tags.get(RESUMED, "0")) + 1)
    store.tag(past.run_id, {RESUMED: resumed, **tags})
    known = {store.ids[name] for name in ours if name in store.ids}
    for run_id in past.orphans:
        if run_id not in known:
            told = {"outcome": "killed", "outcome.message": "its sweep was killed, and resumed with a new run"}
            store.tag(run_id, told)
            store.client.set_terminated(run_id, "KILLED")


def recall(uri: str, run_id: str) -> tuple[list[Curve], Result, Layout]:
    """Return what a trial that has ended reported: its curves, its result and its layout."""
    run = read_run(uri, run_id)
    if run.layout is None:
        raise RecordError(f"the run of a finished trial must hold its layout, got {run_id!r} without")
    curves = [Curve(trial=0, steps=one.steps, metrics={name: one.values}) for name, one in run.curves.items()]
    last = {name: float(one.values[-1]) for name, one in run.curves.items()}
    return curves, dataclasses.replace(_result(run.tags, last), arrays=run.arrays), run.layout


def has_figures(uri: str, run_id: str) -> bool:
    """Return whether a run holds figures."""
    return bool(connect(absolute(uri), create=False).list_artifacts(run_id, FIGURES))


def _result(tags: Mapping[str, str], metrics: Mapping[str, float]) -> Result:
    return Result(
        trial=0,
        outcome=Outcome(tags["outcome"]),
        step=int(tags["outcome.step"]),
        metrics={name: value for name, value in metrics.items() if not name.startswith(CLOCKED)},
        message=tags.get("outcome.message", ""),
    )
