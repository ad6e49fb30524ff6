"""What a record holds of a sweep that was not finished: its parent run, the trials that ended, and the orphans."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pipeline.recorder.address import absolute
from pipeline.recorder.protocol import CLOCKED, Layout, Past, RecordError
from pipeline.recorder.reading import read_run
from pipeline.recorder.store import Store, connect
from tasks.events import Curve, Outcome, Result

SWEEP_KEY = "sweep.key"
RESUMED = "resumed"
"""The tag of a sweep's parent run that says how often it has been resumed."""

_PAGE = 1000


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
    ended, orphans, page = {}, [], None
    while page is None or page:
        children = client.search_runs(
            [found.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'", max_results=_PAGE, page_token=page
        )
        for run in children:
            if run.info.status == "FINISHED" and "key" in run.data.tags:
                ended[run.data.tags["key"]] = (run.info.run_id, _result(run.data.tags, run.data.metrics))
            elif run.info.status in ("RUNNING", "SCHEDULED"):
                orphans.append(run.info.run_id)
        page = children.token or ""
    return Past(run_id=parent, tags=dict(parents[0].data.tags), ended=ended, orphans=tuple(orphans))


def adopt(store: Store, past: Past, now: int, places: Mapping[str, str]) -> str:
    """Go on with a sweep's parent run, and return its new tag `RESUMED`; its orphans are ended as KILLED.

    ``places`` are the tags that say where it goes on.
    """
    store.client.update_run(past.run_id, status="RUNNING")
    resumed = str(int(past.tags.get(RESUMED, "0")) + 1)
    store.tag(past.run_id, {RESUMED: resumed, **places})
    for run_id in past.orphans:
        store.tag(run_id, {"outcome": "killed", "outcome.message": "its sweep was killed, and resumed with a new run"})
        store.end_run(run_id, "KILLED", now)
    return resumed


def recall(uri: str, run_id: str) -> tuple[list[Curve], Result, Layout]:
    """Return what a trial that has ended reported: its curves, its result and its layout."""
    run = read_run(uri, run_id)
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
