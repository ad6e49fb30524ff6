"""Finds an unfinished sweep in the store: its parent run, the trials that ended, and the orphans; and takes it over."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.errors import RecordError
from pipeline.record.protocol import CLOCKED, OtherSweep, Past
from pipeline.record.runs import RESUMED
from pipeline.reports import Layout
from pipeline.tracking.connection import children, connect
from pipeline.tracking.reader import Reader, last_metrics
from pipeline.tracking.store import Store
from tasks.events import Curve, Outcome, Result

if TYPE_CHECKING:
    from mlflow import MlflowClient  # takes seconds to import

SWEEP_KEY_TAG = "sweep.key"
RESUMED_TAG = "resumed"
"""The tag of a sweep's parent run that counts how often it was resumed."""

_MOST_SWEEPS = 20
"""The number of sweeps with which one that cannot be resumed is compared."""

_UNENDED = ("RUNNING", "SCHEDULED")


def find_past(uri: str, experiment: str, sweep_key: str) -> Past | None:
    """Return what the record holds of the latest sweep with this key, None if there is none."""
    client = connect(uri, create=True)
    parent = next(iter(_latest(client, experiment, f"= '{sweep_key}'", most=1)), None)
    if parent is None:
        return None
    ended, runs, orphans = {}, {}, []
    for run in children(client, parent.info.experiment_id, parent.info.run_id):
        if run.info.status == "FINISHED" and "key" in run.data.tags:
            key = run.data.tags["key"]
            ended[key] = _result(run.data.tags, last_metrics(run))
            runs[key] = run.info.run_id
        elif run.info.status in _UNENDED:
            orphans.append(run.info.run_id)
    tags = dict(parent.data.tags)
    return Past(run_id=parent.info.run_id, tags=tags, ended=ended, runs=runs, orphans=tuple(orphans))


def latest_sweeps(uri: str, experiment: str) -> list[OtherSweep]:
    """Return what the record holds of the latest sweeps, the latest first."""
    client = connect(uri, create=True)
    sweeps = []
    for parent in _latest(client, experiment, "LIKE '%'", most=_MOST_SWEEPS):
        runs = [*children(client, parent.info.experiment_id, parent.info.run_id), parent]
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


def _latest(client: MlflowClient, experiment: str, key: str, *, most: int) -> list[Any]:
    """Return the parent runs of an experiment's latest sweeps whose key satisfies ``key``, such as ``= 'x'``."""
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    condition, order = f"tags.`{SWEEP_KEY_TAG}` {key}", ["attributes.start_time DESC"]
    return list(client.search_runs([found.experiment_id], condition, order_by=order, max_results=most))


def abandon(uri: str, sweep: OtherSweep) -> None:
    """End the unended runs of a sweep, which no process computes any more, as KILLED."""
    client = connect(uri, create=True)
    for run_id in sweep.unended:
        _kill(client, run_id, "its process ended without recording an end, and the sweep was not resumed")


def adopt(store: Store, past: Past, tags: Mapping[str, str], *, ours: Collection[str]) -> None:
    """Take over a sweep's parent run: set it to running, and add ``tags``.

    Its orphans are ended as KILLED, except those whose recorder's names are in ``ours``: the log will end them.
    """
    store.client.update_run(past.run_id, status="RUNNING")
    resumed = str(int(past.tags.get(RESUMED_TAG, "0")) + 1)
    store.set_tags(past.run_id, {RESUMED_TAG: resumed, **tags})
    known = {store.ids[name] for name in ours if name in store.ids}
    for run_id in past.orphans:
        if run_id not in known:
            _kill(store.client, run_id, RESUMED)


def _kill(client: MlflowClient, run_id: str, why: str) -> None:
    """End a run as KILLED."""
    client.set_tag(run_id, "outcome", "killed")
    client.set_tag(run_id, "outcome.message", why)
    client.set_terminated(run_id, "KILLED")


def read_ended(store: Store, run_id: str) -> tuple[list[Curve], Result, Layout]:
    """Read the curves, the result and the layout of a trial that has ended."""
    run = Reader(store.uri, store.client).trial(run_id)
    if run.layout is None:
        raise RecordError(f"the run of a finished trial must hold its layout, got {run_id!r} without")
    curves = [Curve(trial=0, steps=one.steps, metrics={name: one.values}) for name, one in run.curves.items()]
    last = {name: float(one.values[-1]) for name, one in run.curves.items()}
    return curves, dataclasses.replace(_result(run.tags, last), arrays=run.arrays), run.layout


def _result(tags: Mapping[str, str], metrics: Mapping[str, float]) -> Result:
    return Result(
        trial=0,
        outcome=Outcome(tags["outcome"]),
        step=int(tags["outcome.step"]),
        metrics={name: value for name, value in metrics.items() if not name.startswith(CLOCKED)},
        message=tags.get("outcome.message", ""),
    )
