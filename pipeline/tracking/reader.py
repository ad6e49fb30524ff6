"""Reads a record: a trial with all that is needed to reproduce it, or a sweep as a table of its trials."""

from __future__ import annotations

import functools
import json
import math
import sys
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.address import absolute, redact, sqlite_file
from pipeline.config.settings import varied_by_repeats
from pipeline.errors import RecordError
from pipeline.figures.drawings import DRAWN_TRIALS
from pipeline.record import artifacts
from pipeline.record.outbox import PACK_TAG
from pipeline.record.protocol import FOLDER
from pipeline.record.trial_run import INDEX_TAG
from pipeline.reports import Layout
from pipeline.results.criterion import Criterion
from pipeline.results.curves import Series
from pipeline.results.repeats import Setting, rank, ranked
from pipeline.results.standing import STOPPED, Repeat
from pipeline.tracking.connection import answering, children, connect
from tasks.datasets.source import expanded

if TYPE_CHECKING:
    from mlflow import MlflowClient  # takes seconds to import

_CONFIG_DIGEST = "config.sha256"

_CLOCKED = "wall_clock/"
"""The prefix of a metric of older records, which depends on the clock: it is not part of a trial's result."""

_ENDED = ("FINISHED", "FAILED")
"""The statuses of the runs of trials that ended by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """A recorded trial; ``layout`` is None, and ``arrays`` is empty, for one that did not end by itself."""

    run_id: str
    name: str
    experiment: str
    experiment_id: str
    status: str
    config: Mapping[str, Any]
    overrides: tuple[str, ...]
    curves: Mapping[str, Series]
    arrays: Mapping[str, np.ndarray]
    layout: Layout | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSweep:
    """A recorded sweep.

    Its ``runs`` and ``settings`` are sorted, the best first. ``figures`` are its own, ``drawn`` those of the best
    run, or of the first ones if nothing ranks them, by run.
    """

    run_id: str
    name: str
    status: str
    tags: Mapping[str, str]
    criterion: Criterion
    runs: tuple[Repeat, ...]
    settings: tuple[Setting, ...]
    figures: Mapping[str, bytes]
    drawn: Mapping[str, Mapping[str, bytes]]

    @property
    def best(self) -> Repeat | None:
        """The best run of the best setting, None if no trial has a value of the metric that ranks."""
        return self.settings[0].best


def open_reader(uri: str) -> Reader:
    """Return a reader of the store at ``uri``, or raise a `RecordError` if that does not answer."""
    uri = absolute(uri)
    return Reader(uri, connect(uri, create=False))


class Reader:
    """Reads the store at ``uri``, reached by ``client``.

    An unknown run raises a `RecordError`, and so does a store that ceases to answer.
    """

    def __init__(self, uri: str, client: MlflowClient) -> None:
        self.uri = uri
        self._client = client

    def is_trial(self, run_id: str) -> bool:
        """Return whether a run is a trial's; if not, it may be a sweep's parent run, or a foreign one."""
        return _CONFIG_DIGEST in self._run(run_id).data.tags

    def trial(self, run_id: str) -> RecordedRun:
        """Return the trial of a run.

        Raises
        ------
        RecordError
            If the run is not a trial's, or its config is not as it was recorded.
        """
        run = self._run(run_id)
        tags = dict(run.data.tags)
        if _CONFIG_DIGEST not in tags:
            raise RecordError(f"the run must be one trial's, not a sweep's parent run or a foreign one, got {run_id!r}")
        files = self._files(run)
        try:
            config = artifacts.read_config(files[artifacts.CONFIG], tags[_CONFIG_DIGEST])
        except RecordError as error:
            raise RecordError(f"run {run_id!r}: {error}") from None
        prefix = f"{artifacts.read_tag(run_id, tags, 'key', str)}/" if PACK_TAG in tags else ""
        with answering(self.uri):
            experiment = self._client.get_experiment(run.info.experiment_id).name
            history = {metric: self._client.get_metric_history(run_id, metric) for metric in _measured(run)}
        return RecordedRun(
            run_id=run_id,
            name=run.info.run_name,
            experiment=experiment,
            experiment_id=run.info.experiment_id,
            status=run.info.status,
            config=_with_data_path(config, tags, self.uri),
            overrides=artifacts.read_overrides(files[artifacts.OVERRIDES]),
            curves={metric: _series(points) for metric, points in history.items()},
            arrays=artifacts.read_arrays(files[artifacts.ARRAYS], prefix) if artifacts.ARRAYS in files else {},
            layout=artifacts.read_layout(run_id, tags),
            tags=tags,
        )

    def sweep(self, run_id: str) -> RecordedSweep:
        """Return the sweep of a parent run, or raise a `RecordError` if that has no trials."""
        parent = self._run(run_id)
        with answering(self.uri):
            runs = _one_a_trial(children(self._client, parent.info.experiment_id, run_id))
        if not runs:
            raise RecordError(f"the run must be a sweep's parent run, got {run_id!r}, which has no trials")
        criterion = Criterion.from_tags(parent.data.tags, {name for run in runs for name in run.data.metrics})
        settings = _settings(runs, criterion)
        ordered = sorted((repeat for setting in settings for repeat in setting.repeats), key=rank)
        shown = ordered[:DRAWN_TRIALS] if settings[0].best is None else [settings[0].best]
        return RecordedSweep(
            run_id=run_id,
            name=parent.info.run_name,
            status=parent.info.status,
            tags=dict(parent.data.tags),
            criterion=criterion,
            runs=tuple(ordered),
            settings=tuple(settings),
            figures=self._figures(run_id),
            drawn={run.run_id: self._figures(run.run_id) for run in shown},
        )

    def annotate(self, run_id: str, tags: Mapping[str, str], note: str) -> None:
        """Add tags to a run, and a note above its description."""
        before = self._run(run_id).data.tags.get(artifacts.NOTE, "")
        with answering(self.uri):
            for key, value in {**tags, artifacts.NOTE: f"{note}\n\n{before}".strip()}.items():
                self._client.set_tag(run_id, key, value)

    def _run(self, run_id: str) -> Any:
        with answering(self.uri, f"the run must be one of {redact(self.uri)!r}, got {run_id!r}"):
            return self._client.get_run(run_id)

    def _files(self, run: Any) -> dict[str, bytes]:
        """Return the files of a trial; in a packed sweep they are tags, and the arrays a file of the sweep's run."""
        from mlflow.exceptions import MlflowException  # noqa: PLC0415  # takes seconds to import

        run_id, tags = run.info.run_id, run.data.tags
        wanted = (artifacts.CONFIG, artifacts.OVERRIDES, artifacts.ARRAYS)
        found = {name: tags[name].encode() for name in wanted if name in tags}
        try:
            if PACK_TAG in tags:
                parent = artifacts.read_tag(run_id, tags, "mlflow.parentRunId", str)
                found[artifacts.ARRAYS] = self._download(parent, [tags[PACK_TAG]])[tags[PACK_TAG]]
            missing = {name for name in wanted if name not in found}
            there = {file.path for file in self._client.list_artifacts(run_id)} if missing else set()
            found |= self._download(run_id, missing & there)
        except (MlflowException, OSError) as error:
            raise RecordError(f"the artifacts of run {run_id!r} must be readable, got: {error}") from None
        for name in (artifacts.CONFIG, artifacts.OVERRIDES):
            if name not in found:
                place = run.info.artifact_uri
                raise RecordError(f"the run must hold {name}, got {run_id!r} with {sorted(found)} in {place}")
        return found

    def _figures(self, run_id: str) -> dict[str, bytes]:
        with answering(self.uri):
            names = sorted(file.path for file in self._client.list_artifacts(run_id, artifacts.FIGURES))
            found = self._download(run_id, names)
        return {name.removeprefix(f"{artifacts.FIGURES}/"): found[name] for name in names}

    def _download(self, run_id: str, names: Collection[str]) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as folder:
            return {
                name: Path(self._client.download_artifacts(run_id, name, folder)).read_bytes() for name in sorted(names)
            }


def _measured(run: Any) -> list[str]:
    """Return the names of the metrics of a run that are part of its trial's result."""
    return sorted(metric for metric in run.data.metrics if not metric.startswith(_CLOCKED))


def _one_a_trial(runs: Iterable[Any]) -> list[Any]:
    """Return one run of each trial: the last that ended by itself, or else the last.

    A resumed sweep has more runs: of trials that had failed, or were running when it was killed.
    """
    chosen: dict[str, Any] = {}
    for run in sorted(runs, key=lambda run: (run.info.status in _ENDED, run.info.start_time)):
        chosen[run.data.tags.get("key", run.info.run_id)] = run
    return list(chosen.values())


def _with_infinities(values: np.ndarray) -> np.ndarray:
    """Restore infinities in place, and return the values: MLflow's SQL stores hold them as the largest float."""
    values[np.abs(values) == sys.float_info.max] *= np.inf
    return values


def _series(history: Sequence[Any]) -> Series:
    points = sorted((metric.step, metric.value) for metric in history)
    steps = np.array([step for step, _ in points], dtype=np.int64)
    return Series(steps=steps, values=_with_infinities(np.array([value for _, value in points], dtype=np.float64)))


def _with_data_path(config: dict[str, Any], tags: Mapping[str, str], uri: str) -> dict[str, Any]:
    """Return a config whose path of the data is resolved in its run's working folder, or else in that of the store.

    A path that neither has stays as it is.
    """
    dataset, store = config.get("dataset") or {}, sqlite_file(uri)
    root = dataset.get("root")
    if root is None:
        return config
    folders = [Path(tags[FOLDER])] if FOLDER in tags else []  # an older record does not say
    folders += [store.parent] if store else []
    found = next((str(path) for folder in folders if (path := folder / expanded(root)).exists()), root)
    return {**config, "dataset": {**dataset, "root": found}}


def _settings(runs: Iterable[Any], criterion: Criterion) -> list[Setting]:
    """Return the settings of trials' runs, the best first; in older records they follow from the runs' params."""
    groups: dict[str, list[Repeat]] = {}
    names: dict[str, str] = {}
    for index, run in enumerate(sorted(runs, key=lambda run: run.info.run_name)):
        tags, params = run.data.tags, dict(sorted(run.data.params.items()))
        seeds = {name: params.pop(name) for name in varied_by_repeats(list(params), criterion.over)}
        read = functools.partial(artifacts.read_tag, run.info.run_id, tags)
        measured = _measured(run)
        last = _with_infinities(np.array([run.data.metrics[name] for name in measured], dtype=np.float64))
        repeat = Repeat(
            seeds=tuple(seeds.items()),
            outcome=tags.get("outcome", run.info.status.lower()),
            metrics=dict(zip(measured, last.tolist(), strict=True)),
            criterion=criterion,
            index=read(INDEX_TAG, int) if INDEX_TAG in tags else index,  # older records lack it
            trial=run.info.run_name,
            key=tags.get("key", ""),
            run_id=run.info.run_id,
            stopped_at=read("outcome.step", int) if tags.get("outcome") == STOPPED else math.inf,
            message=tags.get("outcome.message", ""),
        )
        key = tags.get("setting.key") or json.dumps(params)
        groups.setdefault(key, []).append(repeat)
        names.setdefault(key, tags.get("setting") or run.info.run_name)
    return ranked(
        Setting(key=key, name=names[key], repeats=tuple(sorted(repeats, key=rank))) for key, repeats in groups.items()
    )
