"""Unfinished sweeps: they are found in a store, taken over with what it holds of their trials, or ended as killed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from pipeline.config.schema import parse
from pipeline.plan.plan import PlannedTrial
from pipeline.record.artifacts import read_tag
from pipeline.record.protocol import Past, Recalled
from pipeline.record.runs import RESUMED
from pipeline.record.trial_run import INDEX_TAG
from pipeline.tracking.connection import answering, children, connect
from pipeline.tracking.reader import Reader
from pipeline.tracking.store import RUN_TAG, SWEEP_KEY_TAG, Store
from tasks.events import Curve, Outcome, Result

if TYPE_CHECKING:
    from mlflow import MlflowClient  # takes seconds to import

_MOST_SWEEPS = 20
"""The number of sweeps with which one that cannot be resumed is compared."""


def find_past(uri: str, experiment: str, sweep_key: str) -> Past | None:
    """Return what the record holds of the latest sweep with this key, None if there is none."""
    return next(latest_sweeps(uri, experiment, sweep_key), None)


def latest_sweeps(uri: str, experiment: str, key: str = "%") -> Iterator[Past]:
    """Yield what the record holds of the latest sweeps whose key is like ``key``, the latest first."""
    client = connect(uri, create=True)
    with answering(uri):
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return
        wanted, order = f"tags.`{SWEEP_KEY_TAG}` LIKE '{key}'", ["attributes.start_time DESC"]
        for parent in client.search_runs([found.experiment_id], wanted, order_by=order, max_results=_MOST_SWEEPS):
            trials = list(children(client, found.experiment_id, parent.info.run_id))
            ended = [run for run in trials if run.info.status == "FINISHED" and "key" in run.data.tags]
            yield Past(
                run_id=parent.info.run_id,
                name=parent.info.run_name,
                tags=dict(parent.data.tags),
                params=tuple(dict(run.data.params) for run in trials),
                runs={run.data.tags["key"]: run.info.run_id for run in ended},
                names={run.data.tags[RUN_TAG]: run.info.run_id for run in trials if RUN_TAG in run.data.tags},
                unended=tuple(run.info.run_id for run in (*trials, parent) if run.info.status == "RUNNING"),
            )


def abandon(uri: str, sweep: Past) -> None:
    """End the unended runs of a sweep, which no process computes any more, as KILLED."""
    client = connect(uri, create=True)
    with answering(uri):
        _kill(client, sweep.unended, "its process ended without recording an end, and the sweep was not resumed")


def adopt(store: Store, past: Past, tags: Mapping[str, str], *, ours: Collection[str]) -> None:
    """Take over a sweep's parent run: set it to running, and add ``tags``.

    Its trials' runs that have not ended are ended as KILLED, except those whose recorder's names are in ``ours``: the
    log will end them.
    """
    store.client.update_run(past.run_id, status="RUNNING")
    store.set_tags(past.run_id, tags)
    kept = {past.run_id, *(store.ids.get(name) for name in ours)}
    _kill(store.client, [run_id for run_id in past.unended if run_id not in kept], RESUMED)


def _kill(client: MlflowClient, run_ids: Iterable[str], why: str) -> None:
    for run_id in run_ids:
        client.set_tag(run_id, "outcome", "killed")
        client.set_tag(run_id, "outcome.message", why)
        client.set_terminated(run_id, "KILLED")


def recall(store: Store, run_id: str) -> Recalled:
    """Read what a log should hold of a trial that has ended: what it is, its curves, its result and its layout."""
    run = Reader(store.uri, store.client).trial(run_id)
    read_tag(run_id, run.tags, "layout.slot", int)
    assert run.layout is not None
    curves = tuple(Curve(trial=0, steps=one.steps, metrics={name: one.values}) for name, one in run.curves.items())
    result = Result(
        trial=0,
        outcome=read_tag(run_id, run.tags, "outcome", Outcome),
        step=read_tag(run_id, run.tags, "outcome.step", int),
        metrics={name: float(one.values[-1]) for name, one in run.curves.items()},
        arrays=run.arrays,
        message=run.tags.get("outcome.message", ""),
    )
    trial = PlannedTrial(
        index=read_tag(run_id, run.tags, INDEX_TAG, int),
        key=run.tags["key"],
        name=run.name,
        overrides=run.overrides,
        config=run.config,
        trial=parse(run.config).trial,
    )
    return Recalled(trial=trial, run_id=run_id, curves=curves, result=result, layout=run.layout)
