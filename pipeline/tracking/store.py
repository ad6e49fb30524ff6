"""An open MLflow store: the runs of one experiment, written through MLflow's API."""

from __future__ import annotations

import functools
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.address import how_to_look, sqlite_file
from pipeline.errors import RecordError
from pipeline.record.artifacts import LONGEST_NAME, run_tags, shorten
from pipeline.record.outbox import Change
from pipeline.record.runs import Runs, SweepRun
from pipeline.results.page import sweep_view
from pipeline.tracking.connection import open_experiment, refusals, search_runs
from pipeline.tracking.model import register
from pipeline.tracking.relocation import LOG_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient  # takes seconds to import

RUN_TAG = "recorder.run"
"""The tag of a run that holds the recorder's own name of it, by which it is found again."""

SWEEP_KEY_TAG = "sweep.key"

ENTRIES_TAG = "log.entries"
"""The tag of a sweep's run that counts the entries of its log that are in the store."""

RUN_NAME = re.compile(r"run-[0-9a-f]{32}")
"""The recorder's own name of a run: the store gives it an id only when it is created."""

POINTS_AT_ONCE = 1000
"""The points that are sent in one request: MLflow admits no more, and divides params and tags itself."""


class Store:
    """The store at ``uri``, reached by ``client``, and its experiment, which is created if it is not there.

    ``ids`` maps the recorder's own names of runs to their ids in the store; ``attempted`` are the names of those that
    may have been created. ``answered`` is when the store last answered.

    Raises
    ------
    RecordError
        If the experiment has been deleted.
    """

    def __init__(self, uri: str, experiment: str, client: MlflowClient) -> None:
        self.uri = uri
        self.client = client
        self.ids: dict[str, str] = {}
        self.answered = time.monotonic()
        self.given_up = threading.Event()  # another process may write the rest: write nothing more
        self.attempted: set[str] = set()
        self._unconfirmed: set[str] = set()
        self.experiment_id = open_experiment(client, uri, experiment)
        file = sqlite_file(uri)
        self._file = None if file is None else (file, file.stat())

    def create_run(self, name: str, tags: Mapping[str, str], start: int) -> str:
        """Create a run that started at ``start`` (milliseconds since the epoch) and return its id."""
        created = self.client.create_run(self.experiment_id, start_time=start, tags=dict(tags), run_name=name)
        return str(created.info.run_id)

    def begin(self, parent: SweepRun, log: Path | None, start: int) -> None:
        """Create the parent run of a sweep whose reports are in ``log``, and the view of its trials."""
        sweep, opened = parent.sweep, parent.opened
        tags = run_tags({**opened.provenance.tags, **sweep.tags}, sweep.overrides, opened.data)
        tags |= {SWEEP_KEY_TAG: sweep.key, LOG_TAG: str(log or ""), RUN_TAG: parent.id}
        self.ids[parent.id] = self.create_run(shorten(sweep.name, LONGEST_NAME), tags, start)
        self.show(parent)

    def show(self, parent: SweepRun) -> None:
        """Write the view of a sweep's trials."""
        self.client.set_experiment_tag(self.experiment_id, *sweep_view(parent.tally, self._id(parent.id)))

    def apply(self, changes: Mapping[str, Change]) -> list[Exception]:
        """Write changes, by run, in order; return the errors of the writes that the store refuses for good.

        Writing is idempotent, and removes from the changes what is written. Any other error is raised: the rest can
        then be retried.
        """
        self._require_file()
        steps = self._create, self._add_data, self._log_values, self._attach, self._end, self._register, self._count
        refused: list[Exception] = []
        for run, change in changes.items():
            for write in steps:
                if self.given_up.is_set():
                    raise TimeoutError("gave up waiting for the store")
                refused += refusals(functools.partial(write, run, change))
        return refused

    def _require_file(self) -> None:
        """Raise an error where the store's file is gone (it may come back) or replaced: SQLite calls it read-only."""
        if self._file is None:
            return
        file, opened = self._file
        if not file.is_file():
            raise FileNotFoundError(f"the file is gone, and is written to again once it is back: {file}")
        if not os.path.samestat(opened, file.stat()):
            raise RecordError(f"another file is in the place of {file}")

    def load_ids(self, prefix: str) -> None:
        """Load into ``ids`` the runs that another process has created by names that begin with ``prefix``."""
        runs = search_runs(self.client, self.experiment_id, f"tags.`{RUN_TAG}` LIKE '{prefix}%'")
        self.ids |= {run.data.tags[RUN_TAG]: run.info.run_id for run in runs}

    def find(self, run: str) -> str | None:
        """Return the id of a run that may have been created by another process, or by a request without an answer.

        If such requests have created it more than once, all but one are deleted.
        """
        runs = search_runs(self.client, self.experiment_id, f"tags.`{RUN_TAG}` = '{run}'")
        found = [one.info.run_id for one in runs]
        chosen = self.ids.get(run) or next(iter(found), None)
        for other in found:
            if other != chosen:
                self.client.delete_run(other)
        if chosen is not None:
            self.ids[run] = chosen
        return chosen

    def known_id(self, run: str) -> str | None:
        """Return the id of a run, None if it is not known to have been created."""
        return self.ids.get(run, None if RUN_NAME.fullmatch(run) else run)

    def how_to_look(self, runs: Runs) -> str:
        """Return the command that opens the record of ``runs``, and a link to its sweep's charts or its lone trial."""
        run = next(iter(runs.runs.values()), None)
        run_id = None if run is None else self.known_id(run.id)
        sweep = None if runs.parent is None else self.known_id(runs.parent.id)
        return how_to_look(self.uri, self.experiment_id, sweep=sweep, run=run_id)

    def delete_duplicates(self) -> None:
        """Delete the second runs of requests that were retried without an answer, and carried out after all."""
        for run in self._unconfirmed:
            self.find(run)

    def is_running(self, run: str) -> bool:
        """Return whether a run has been created and not ended."""
        return bool(self.client.get_run(self._id(run)).info.status == "RUNNING")

    def with_ids(self, text: str) -> str:
        """Return a text with the recorder's names of runs replaced by their ids in the store."""
        return RUN_NAME.sub(lambda match: self.ids.get(match[0], match[0]), text) if "run-" in text else text

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Add tags to a run."""
        for key, value in tags.items():
            self.client.set_tag(run_id, key, value)

    def _create(self, run: str, change: Change) -> None:
        if change.start is None:
            return
        if run in self.attempted and run not in self.ids:
            self._unconfirmed.add(run)
            self.find(run)
        self.attempted.add(run)
        if run not in self.ids:
            tags = {name: self.with_ids(value) for name, value in change.tags.items()}
            self.ids[run] = self.create_run(change.name, {**tags, RUN_TAG: run}, change.start)
            change.tags = {}
        change.start = None

    def _add_data(self, run: str, change: Change) -> None:
        """Log the data set of a run as its input. MLflow's own helper would copy and hash the images once more."""
        if change.data is None:
            return
        from mlflow.entities import Dataset as Entity  # noqa: PLC0415  # takes seconds to import
        from mlflow.entities import DatasetInput, InputTag  # noqa: PLC0415  # takes seconds to import

        # MLflow limits a digest to 36 characters; a tag of the run holds the whole.
        name, digest = change.data
        entity = Entity(name, digest[:36], source_type="local", source=name)
        inputs = [DatasetInput(entity, [InputTag("mlflow.data.context", "training")])]
        log = functools.partial(self.client.log_inputs, self._id(run), inputs)
        if refusals(log):
            log()  # MLflow looks a data set up and then inserts it: another sweep may have inserted it in between
        change.data = None

    def _log_values(self, run: str, change: Change) -> None:
        """Write params, tags and points in batches."""
        if not (change.params or change.tags or change.points):
            return
        from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415  # takes seconds to import

        points = [
            Metric(metric, *point)
            for metric, values, times, steps in change.points
            for point in zip(values.tolist(), times.tolist(), steps.tolist(), strict=True)
        ]
        tags = [RunTag(key, self.with_ids(value)) for key, value in change.tags.items()]
        params = [Param(*param) for param in change.params.items()]
        refused: list[Exception] = []
        for start in range(0, max(1, len(points)), POINTS_AT_ONCE):
            others = (params, tags) if start == 0 else ((), ())
            refused += self._log_batch(self._id(run), points[start : start + POINTS_AT_ONCE], *others)
        change.points, change.params, change.tags = [], {}, {}
        if refused:
            raise refused[0]

    def _log_batch(
        self, run_id: str, points: Sequence[Any], params: Sequence[Any], tags: Sequence[Any]
    ) -> list[Exception]:
        """Write a batch, or if it is refused each metric, the params and the tags alone; return what is refused still.

        MLflow refuses a whole batch for one name of a metric that it does not allow.
        """
        refused = refusals(
            lambda: self.client.log_batch(run_id, metrics=points, params=params, tags=tags, synchronous=True)
        )
        self.answered = time.monotonic()
        if not refused:
            return []
        names = dict.fromkeys(point.key for point in points)
        by_metric = (([point for point in points if point.key == name], (), ()) for name in names)
        parts = [part for part in (*by_metric, ((), params, ()), ((), (), tags)) if any(part)]
        return refused if len(parts) < 2 else [error for part in parts for error in self._log_batch(run_id, *part)]

    def _attach(self, run: str, change: Change) -> None:
        """Write files, by path, as artifacts of a run."""
        if not change.files:
            return
        with tempfile.TemporaryDirectory() as folder:
            self._write_files(Path(folder), change)
            self.client.log_artifacts(self._id(run), folder)
        if self._proxies_files:
            self._require_files(self._id(run), change.files)
        self.answered = time.monotonic()
        change.files = {}

    @functools.cached_property
    def _proxies_files(self) -> bool:
        """Whether files go through the tracking server, and not to a place that the client writes to itself."""
        location = str(self.client.get_experiment(self.experiment_id).artifact_location)
        return location.startswith("mlflow-artifacts:")

    def _require_files(self, run_id: str, files: Iterable[str]) -> None:
        """Raise an `OSError` where a run lacks files that were uploaded.

        MLflow takes any answer to an upload for a success, also the page on which a proxy wants its users to sign in.
        """
        there = {one.path for one in self.client.list_artifacts(run_id)}
        lost = sorted({name.partition("/")[0] for name in files} - there)
        if lost:
            raise OSError(f"the store must hold the files that were uploaded, it lacks {', '.join(lost)}")

    def _end(self, run: str, change: Change) -> None:
        """End a run as FINISHED, FAILED or KILLED."""
        if change.end is not None:
            status, end = change.end
            self.client.set_terminated(self._id(run), status, end_time=end)
            change.end = None

    def _register(self, run: str, change: Change) -> None:
        """Register a run's classifier as a version of its model, and tag the sweep's run with it."""
        if change.model is not None:
            run_id, trained = self._id(run), change.model
            version = register(self.client, self.uri, self.experiment_id, run_id, trained)
            parent = self.client.get_run(run_id).data.tags["mlflow.parentRunId"]
            self.set_tags(parent, {"winner.run_id": run_id, "winner.model": f"models:/{trained.name}/{version}"})
            change.model = None

    def _count(self, run: str, change: Change) -> None:
        """Tag the run of a sweep with the number of the log's entries in the store."""
        if change.entries is not None:
            self.set_tags(self._id(run), {ENTRIES_TAG: str(change.entries)})

    def _id(self, run: str) -> str:
        """Return the id of a run in the store."""
        found = self.known_id(run) or self.find(run)
        if found is None:
            raise LookupError(f"the store must hold the run {run}, which was created before; it does not")
        return found

    def _write_files(self, folder: Path, change: Change) -> None:
        """Write files, by path, into a folder; in tables the recorder's names of runs become their ids."""
        for name, content in change.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            table = name.endswith((".csv", ".json"))
            path.write_bytes(self.with_ids(content.decode()).encode() if table else content)
