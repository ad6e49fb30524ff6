"""Unfinished records: sweeps that are found, taken over or ended as killed, and logs that are backfilled."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipeline.address import absolute, redact, unreachable
from pipeline.config.schema import parse
from pipeline.errors import RecordError
from pipeline.plan.plan import PlannedTrial
from pipeline.record.artifacts import read_tag
from pipeline.record.log import DamagedError, Log
from pipeline.record.protocol import Opened, Past, Recalled, Resumed
from pipeline.record.runs import RESUMED, Runs
from pipeline.record.trial_run import INDEX_TAG
from pipeline.tracking.connection import (
    WRITE_VARIABLES,
    answering,
    children,
    connect,
    http_variables,
    lacks_tables,
)
from pipeline.tracking.reader import Reader
from pipeline.tracking.relocation import LOG_TAG
from pipeline.tracking.sqlite_store import open_store
from pipeline.tracking.store import ENTRIES_TAG, Store
from tasks.events import Curve, Outcome, Result

if TYPE_CHECKING:
    from mlflow import MlflowClient  # takes seconds to import

T = TypeVar("T")

SWEEP_KEY_TAG = "sweep.key"

_MOST_SWEEPS = 20
"""The number of sweeps with which one that cannot be resumed is compared."""

TRIES, PAUSE = 3, 1.0
"""The attempts at each write of a backfill, and the seconds between two of them."""

_ENTRIES_PER_WRITE = 1000
"""Entries that are written in one transaction."""

_WITHOUT_END = "the log does not hold its end"


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
                unended=tuple(run.info.run_id for run in (*trials, parent) if run.info.status == "RUNNING"),
            )


def abandon(uri: str, sweep: Past) -> None:
    """End the unended runs of a sweep, which no process computes any more, as KILLED."""
    client = connect(uri, create=True)
    with answering(uri):
        for run_id in sweep.unended:
            _kill(client, run_id, "its process ended without recording an end, and the sweep was not resumed")


def adopt(store: Store, past: Past, tags: Mapping[str, str], *, ours: Collection[str]) -> None:
    """Take over a sweep's parent run: set it to running, and add ``tags``.

    Its trials' runs that have not ended are ended as KILLED, except those whose recorder's names are in ``ours``: the
    log will end them.
    """
    store.client.update_run(past.run_id, status="RUNNING")
    store.set_tags(past.run_id, tags)
    kept = {past.run_id, *(store.ids.get(name) for name in ours)}
    for run_id in past.unended:
        if run_id not in kept:
            _kill(store.client, run_id, RESUMED)


def _kill(client: MlflowClient, run_id: str, why: str) -> None:
    """End a run as KILLED."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfilled:
    """The number of entries that the store lacked, the command that opens the record, and a sentence for each loss."""

    entries: int
    look: str
    lost: tuple[str, ...]


def backfill(path: Path, uri: str | None) -> Backfilled:
    """Write what the log at ``path`` holds and the store lacks to the store at ``uri``, by default the sweep's own.

    Its own is the one by which the sweep was resumed last: a folder that was copied has another one than its original.

    Raises
    ------
    RecordError
        If the log cannot be read, its sweep is still running or was resumed with another log, or the store does not
        answer. It may be called again.
    """
    uri = absolute(uri or _address(path))
    with contextlib.closing(Log.open(path)) as log, http_variables(uri, WRITE_VARIABLES):
        entries = log.read()
        _, opened = next(entries, (0, None))
        if not isinstance(opened, Opened):
            raise RecordError(f"the log must begin with how its record was opened, got {path}")
        tags, experiment = _parent(uri, opened, path)
        stored = read_tag(opened.parent, {ENTRIES_TAG: "0", **tags}, ENTRIES_TAG, int)
        store = open_store(uri, experiment)
        runs, lost = Runs(opened, store.experiment_id), list[str]()
        _retried(store, store.load_ids, runs.prefix)

        def write() -> None:
            changes = runs.outbox.drain(max(log.entries, stored))
            refused = _retried(store, store.apply, changes)
            lost.extend(f"the store refused a write: {redact(str(error))}" for error in refused)

        if stored:
            runs.outbox.discard()
        try:
            for now, entry in entries:
                runs.apply(entry, now)
                if log.entries <= stored:
                    runs.outbox.discard()
                elif log.entries % _ENTRIES_PER_WRITE == 0:
                    write()
        except DamagedError as error:
            lost.append(f"the log is damaged, and what follows is lost: {error}")
        write()
        if not runs.closed:
            lost.append("the log has no end: its sweep was killed, or the file was cut short")
            is_running = partial(_retried, store, store.is_running)
            names = runs.abandon(is_running, time.time_ns() // 1_000_000, _WITHOUT_END)
            write()
            lost += [f"the run {store.with_ids(name)} is ended as KILLED, its end is lost" for name in names]
        _retried(store, store.delete_duplicates)
        written = max(0, log.entries - stored)
        return Backfilled(entries=written, look=store.how_to_look(runs), lost=tuple(lost))


def _address(path: Path) -> str:
    """Return the address of the store by which the sweep of a log was opened or resumed last."""
    uri = ""
    # Of a damaged log what follows is lost, a later address too.
    with contextlib.closing(Log.open(path)) as log, contextlib.suppress(DamagedError):
        for _, entry in log.read():
            uri = entry.uri if isinstance(entry, Opened | Resumed) else uri
    if "***" in uri:
        raise RecordError(f"--tracking-uri must be given: a log holds no password, its store was {uri}")
    return uri


def _parent(uri: str, opened: Opened, path: Path) -> tuple[Mapping[str, str], str]:
    """Return the tags of the parent run, and its experiment, which may have been renamed.

    Raises
    ------
    RecordError
        If the store lacks the run, or the sweep was resumed with another log.
    """
    client = connect(uri, create=False)
    if not opened.parent:
        return {}, opened.experiment
    with answering(uri, f"--tracking-uri must be the store of the sweep {opened.parent}, got {redact(uri)}"):
        run = client.get_run(opened.parent)
        experiment = str(client.get_experiment(run.info.experiment_id).name)
    tags = dict(run.data.tags)
    log = tags.get(LOG_TAG, path)
    if Path(log).name != path.name:
        raise RecordError(
            f"the sweep {opened.parent} must not have been resumed with another log: it has been, with {log}, so "
            "its trials were computed again, and this log is obsolete"
        )
    return tags, experiment


def _retried(store: Store, action: Callable[..., T], *arguments: object) -> T:
    """Call ``action``, and retry it if the store does not answer."""
    for number in range(TRIES):
        try:
            return action(*arguments)
        except Exception as error:
            if number == TRIES - 1 or lacks_tables(error):
                raise unreachable(store.uri, error) from error
        time.sleep(PAUSE)
    raise AssertionError
