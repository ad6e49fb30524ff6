"""The artifacts of a run, written and read, and its config and provenance as params and tags."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import yaml

from pipeline.address import redact
from pipeline.config.settings import flat, param_of
from pipeline.errors import RecordError
from pipeline.plan.plan import PlannedTrial
from pipeline.record.protocol import Data
from pipeline.reports import Layout
from tasks.trial import uses_model

T = TypeVar("T")

CONFIG = "config.yaml"
OVERRIDES = "overrides.yaml"
ARRAYS = "arrays.npz"
SIGNATURE = "signature.json"
TRACEBACK = "traceback.txt"
FIGURES = "figures"

NOTE = "mlflow.note.content"
"""The tag that MLflow's UI shows as a run's description, in Markdown."""

LONGEST_PARAM, LONGEST_TAG = 6000, 8000

LONGEST_NAME = 250
"""The most characters of a run's name: a database server refuses a longer one, SQLite does not."""

# The dumper of LibYAML takes a tenth of the time: that counts in a sweep of thousands of trials.
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

# These groups do not change what a trial computes, and an address may hold a password.
_NOT_THE_TRIAL = frozenset({"cluster", "tracking", "sweep"})

# Names of MLflow's own tags for some of the provenance.
_MLFLOW_NAMES = {"git.commit": "source.git.commit", "git.branch": "source.git.branch", "user": "user"}


def trial_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a resolved config that a trial's record keeps."""
    return {key: value for key, value in config.items() if key not in _NOT_THE_TRIAL}


def params(config: Mapping[str, Any]) -> dict[str, str]:
    """Return a trial's config flattened; the key of a row's name is the group's alone.

    >>> params({"strategy": {"name": "local", "scale": 0.001}, "batch_size": None})
    {'strategy': 'local', 'strategy.scale': '0.001', 'batch_size': 'null'}
    """
    note = f" ... (whole in {CONFIG})"
    texts = {key.removesuffix(".name"): param_of(value) for key, value in flat(trial_config(config))}
    return {key: shorten(text, LONGEST_PARAM, note) for key, text in texts.items()}


def run_tags(provenance: Mapping[str, str], overrides: Sequence[str], data: Data) -> dict[str, str]:
    """Return the tags of a run with this provenance, these command-line overrides and this data."""
    tags = {f"mlflow.{name}": provenance[ours] for ours, name in _MLFLOW_NAMES.items() if ours in provenance}
    tags |= {"mlflow.source.name": "pipeline", "mlflow.source.type": "LOCAL", "overrides": redact(" ".join(overrides))}
    tags |= {"dataset": data.name, "dataset.digest": data.digest}
    return {key: shorten(storable(value), LONGEST_TAG) for key, value in (tags | dict(provenance)).items()}


def shorten(text: str, longest: int, note: str = " ... (shortened)") -> str:
    """Return ``text`` cut to ``longest`` characters, with a note that it was."""
    return text if len(text) <= longest else text[: longest - len(note)] + note


def storable(text: str) -> str:
    r"""Return a text that every store takes, with escapes for what one refuses.

    PostgreSQL takes no NUL. No encoding takes a lone surrogate, which in Python stands for a byte of a file's name that
    is not UTF-8.

    >>> storable("a\0b"), storable("\udcff")
    ('a\\0b', '\\udcff')
    """
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\\0").encode(errors="backslashreplace").decode()


def config_files(config: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, str]:
    """Return the texts of a trial's config, by file name."""
    return {
        CONFIG: "".join(_entry(name, json.dumps(value)) for name, value in trial_config(config).items()),
        OVERRIDES: yaml.dump([redact(text) for text in overrides], Dumper=_DUMPER),
    }


@functools.lru_cache(maxsize=1000)
def _entry(name: str, value: str) -> str:
    """Return an entry of a config as YAML, from its value in JSON; cached, as trials of a sweep share most entries."""
    return str(yaml.dump({name: json.loads(value)}, Dumper=_DUMPER, sort_keys=False))


def read_config(content: bytes, digest: str) -> dict[str, Any]:
    """Return the config in a file of `config_files`; raise a `RecordError` if its digest is not the recorded one."""
    found = digest_of(content)
    if found != digest:
        raise RecordError(f"{CONFIG} must be as it was recorded, with SHA-256 {digest}, got {found}")
    with as_recorded(CONFIG):
        return dict(yaml.safe_load(content))


def read_overrides(content: bytes) -> tuple[str, ...]:
    """Return the overrides in a file of `config_files`."""
    with as_recorded(OVERRIDES):
        return tuple(yaml.safe_load(content))


@contextlib.contextmanager
def as_recorded(name: str) -> Iterator[None]:
    """Raise a `RecordError` that names the file where what is read in this context is not what was written."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # damaged YAML, JSON and archives raise errors of any kind
        raise RecordError(f"{name} must be as it was recorded, got: {error}") from None


def read_tag(run_id: str, tags: Mapping[str, str], name: str, kind: Callable[[str], T]) -> T:
    """Return a tag of a run as a value of a ``kind``; raise a `RecordError` if a person has changed or removed it."""
    try:
        return kind(tags[name])
    except (KeyError, ValueError):
        rule, got = "must be as it was recorded", tags.get(name, "no such tag")
        raise RecordError(f"the tag {name} of run {run_id!r} {rule}, got {got!r}") from None


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def arrays_file(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays as a file."""
    buffer = io.BytesIO()
    # As np.savez does, which takes the names as keywords beside its own.
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def read_arrays(content: bytes, prefix: str = "") -> dict[str, np.ndarray]:
    """Return the arrays in a file of `arrays_file` whose names begin with ``prefix``, which is removed from them."""
    with as_recorded(ARRAYS), np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name.removeprefix(prefix): arrays[name] for name in arrays.files if name.startswith(prefix)}


def layout_tags(layout: Layout) -> dict[str, str]:
    """Return the tags that hold the layout of a trial that has ended by itself.

    The versions of its worker's libraries replace those of the driver's.
    """
    fields = dataclasses.asdict(layout)
    versions = {f"version.{name}": version for name, version in fields.pop("versions")}
    return {f"layout.{name}": str(value) for name, value in fields.items()} | versions


def read_layout(run_id: str, tags: Mapping[str, str]) -> Layout | None:
    """Return the layout in the tags of a trial's run: the inverse of `layout_tags`, None if there is none."""
    if tags.keys().isdisjoint({"layout.slot", "layout.width"}):  # a person may have removed one
        return None
    found: dict[str, Any] = {one: read_tag(run_id, tags, f"layout.{one}", str) for one in ("host", "device", "blas")}
    found |= {one: read_tag(run_id, tags, f"layout.{one}", int) for one in ("width", "slot", "threads")}
    return Layout(**found)


def signature(data: Data) -> dict[str, str]:
    """Return the signature of a classifier, in the form of MLflow's ``ModelSignature.to_dict``.

    The input is raw images or features ``(N, *image_shape)``. The output has the columns ``class``, the name of the
    class with the highest score, and ``scores``, all scores by class name.
    """
    images = {"type": "tensor", "tensor-spec": {"dtype": data.kind, "shape": [-1, *data.image_shape]}}
    scores = {name: {"type": "double", "required": True} for name in sorted(data.classes)}
    outputs = [
        {"type": "string", "name": "class", "required": True},
        {"type": "object", "properties": scores, "name": "scores", "required": True},
    ]
    return {"inputs": json.dumps([images]), "outputs": json.dumps(outputs)}


def attached(attachments: Mapping[str, str], trials: Iterable[PlannedTrial], data: Data) -> dict[str, str]:
    """Return the texts that are kept with a run, by file name, and a signature if any of ``trials`` trains a model."""
    files = {f"provenance/{name}": text for name, text in attachments.items()}
    if any(one.trial.task.trains and uses_model(one.trial) for one in trials):
        files[SIGNATURE] = json.dumps(signature(data), indent=2)
    return files
