"""Reading a record back: all that is needed to run a trial again and to compare, from the record alone."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipeline.address import absolute, redact, sqlite_file
from pipeline.errors import RecordError
from pipeline.record import artifacts
from pipeline.record.outbox import PACK
from pipeline.record.protocol import CLOCKED, FOLDER, Series
from pipeline.record.store import connect
from pipeline.reports import Layout

_CONFIG_DIGEST = "config.sha256"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """A trial as its record holds it.

    ``versions`` maps packages to the versions that computed it; ``layout`` is None, and ``arrays`` is empty,
    for a trial that did not end by itself.
    """

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
    dataset_digest: str
    versions: Mapping[str, str]


def read_run(uri: str, run_id: str) -> RecordedRun:
    """Read the record of the trial ``run_id`` in the store at ``uri``.

    Raises
    ------
    RecordError
        If the store does not answer, holds no such trial, or its config is not the one that was recorded.
    """
    uri = absolute(uri)
    client = connect(uri, create=False)
    from mlflow.exceptions import MlflowException  # noqa: PLC0415  # takes seconds to import

    run = get_run(client, uri, run_id)
    tags = dict(run.data.tags)
    if _CONFIG_DIGEST not in tags:
        raise RecordError(f"the run must be one trial's, not a sweep's parent run or a foreign one, got {run_id!r}")
    try:
        files = _files(client, run)
    except (MlflowException, OSError) as error:
        raise RecordError(f"the artifacts of run {run_id!r} must be readable, got: {error}") from None
    if artifacts.CONFIG not in files:
        raise RecordError(
            f"the run must hold {artifacts.CONFIG}, got {run_id!r} with {sorted(files)} in {run.info.artifact_uri}"
        )
    return RecordedRun(
        run_id=run_id,
        name=run.info.run_name,
        experiment=client.get_experiment(run.info.experiment_id).name,
        experiment_id=run.info.experiment_id,
        status=run.info.status,
        config=_placed(artifacts.read_config(files[artifacts.CONFIG], tags[_CONFIG_DIGEST]), _folders(tags, uri)),
        overrides=tuple(yaml.safe_load(files[artifacts.OVERRIDES])),
        curves={
            metric: _series(client.get_metric_history(run_id, metric))
            for metric in sorted(run.data.metrics)
            if not metric.startswith(CLOCKED)
        },
        arrays=artifacts.read_arrays(files[artifacts.ARRAYS], f"{tags['key']}/" if PACK in tags else "")
        if artifacts.ARRAYS in files
        else {},
        layout=artifacts.read_layout(files[artifacts.LAYOUT]) if artifacts.LAYOUT in files else None,
        tags=tags,
        dataset_digest=tags["dataset.digest"],
        versions={k.removeprefix("version."): v for k, v in sorted(tags.items()) if k.startswith("version.")},
    )


def is_trial(uri: str, run_id: str) -> bool:
    """Return whether a run is a trial's; if not, it may be a sweep's parent run, or a foreign one.

    Raises
    ------
    RecordError
        If the store does not answer, or holds no such run.
    """
    return _CONFIG_DIGEST in get_run(connect(absolute(uri), create=False), uri, run_id).data.tags


def tell(uri: str, run_id: str, tags: Mapping[str, str], note: str) -> None:
    """Add tags to a run, and a note above its description."""
    client = connect(absolute(uri), create=False)
    before = get_run(client, uri, run_id).data.tags.get(artifacts.NOTE, "")
    for key, value in {**tags, artifacts.NOTE: f"{note}\n\n{before}".strip()}.items():
        client.set_tag(run_id, key, value)


def get_run(client: Any, uri: str, run_id: str) -> Any:
    """Return a run of the store at ``uri``, or raise a `RecordError` where there is no such run."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415  # takes seconds to import

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        raise RecordError(f"the run must be one of {redact(uri)!r}, got {run_id!r}: {error.message}") from None


def _folders(tags: Mapping[str, str], uri: str) -> list[Path]:
    """Return where a run's relative paths may begin: where its command was run, and beside its store."""
    store = sqlite_file(uri)
    run_in = [Path(tags[FOLDER])] if FOLDER in tags else []  # an older record does not say
    return [*run_in, *([store.parent] if store else [])]


def _placed(config: dict[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """Return a config in which the path of the data holds from any folder; it is taken from the first that has it.

    A path that none of them has is left as it was given.
    """
    dataset = config.get("dataset") or {}
    root = dataset.get("root")
    if root is None:
        return config
    there = [str(path) for folder in folders if (path := folder / Path(root).expanduser()).exists()]
    return {**config, "dataset": {**dataset, "root": next(iter(there), root)}}


def _files(client: Any, run: Any) -> dict[str, bytes]:
    """Return the files of a trial; in a large sweep they are its tags, and the arrays in a file of the sweep."""
    wanted = (artifacts.CONFIG, artifacts.OVERRIDES, artifacts.ARRAYS, artifacts.LAYOUT)
    tags = run.data.tags
    found = {name: tags[name].encode() for name in wanted if name in tags}
    left = [name for name in wanted if name not in found]
    there = {file.path for file in client.list_artifacts(run.info.run_id)} if PACK not in tags or left else set()
    with tempfile.TemporaryDirectory() as folder:
        for name in left:
            if name in there:
                found[name] = Path(client.download_artifacts(run.info.run_id, name, folder)).read_bytes()
        if PACK in tags:
            pack = client.download_artifacts(tags["mlflow.parentRunId"], tags[PACK], folder)
            found[artifacts.ARRAYS] = Path(pack).read_bytes()
    return found


def _series(history: list[Any]) -> Series:
    points = sorted((metric.step, metric.value) for metric in history)
    values = np.array([value for _, value in points], dtype=np.float64)
    # MLflow's SQL stores hold an infinity as the largest number.
    values[np.abs(values) == sys.float_info.max] *= np.inf
    return Series(steps=np.array([step for step, _ in points], dtype=np.int64), values=values)
