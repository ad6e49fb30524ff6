"""The winner of a sweep as a registered model: MLflow's pyfunc, with all that it needs inside it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipeline.record.signature import signature
from pipeline.record.store import Store
from tasks.datasets.dataset import Dataset
from tasks.events import Result
from tasks.models.layered import Layered

_CODE = Path(__file__).with_name("classifier.py")
_PACKAGES = ("mlflow", "numpy", "pandas")
_ARRAYS, _LAYERS = "artifacts/arrays.npz", "artifacts/layers.json"
_CONDA, _VIRTUALENV = "conda.yaml", "python_env.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """A trained model as plain data: what `pipeline.record.classifier` computes with, and the step it comes from.

    ``layers`` is JSON, ``arrays`` an npz file; see that module.
    """

    layers: str
    arrays: bytes
    image_shape: tuple[int, ...]
    step: int

    @property
    def kind(self) -> str:
        """The type of the numbers that are classified."""
        with np.load(io.BytesIO(self.arrays), allow_pickle=False) as arrays:
            return str(arrays["kind"])

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        with np.load(io.BytesIO(self.arrays), allow_pickle=False) as arrays:
            return tuple(arrays["classes"].tolist())

    @classmethod
    def of(cls, model: Layered, dataset: Dataset, result: Result) -> Classifier:
        """Return the classifier that a training on a data set has made of a model."""
        layers = model.layers(dataset.image_shape)
        names = [layer["weights"] for layer in layers if "weights" in layer]
        weights = {f"weights/{name}": result.arrays[name] for name in names}
        scale = np.ones_like(dataset.mean) if dataset.scale is None else dataset.scale
        about = {"mean": dataset.mean, "scale": scale, "classes": np.array(dataset.classes)}
        file, about["kind"] = io.BytesIO(), np.array(dataset.train.images.dtype.name)
        np.savez(file, allow_pickle=False, **about, **weights)
        return cls(
            layers=json.dumps(layers, indent=2),
            arrays=file.getvalue(),
            image_shape=dataset.image_shape,
            step=result.step,
        )


def register(store: Store, run_id: str, name: str, classifier: Classifier, about: str = "") -> int:
    """Keep a trained model with its run, make it a version of the registered model ``name``; return the version.

    Its input are raw images, uint8 ``(N, *image_shape)``, or features, float32; its output has the columns ``class``,
    the name of the class with the highest score, and ``scores``, all scores by class name. What has a version keeps it.
    ``about`` is the version's description.
    """
    from mlflow.entities import LoggedModelOutput  # noqa: PLC0415  # takes seconds to import

    for known in store.client.search_model_versions(f"run_id = '{run_id}'"):
        if known.name == name:
            return int(known.version)
    # A try that failed has left one behind.
    begun = store.client.search_logged_models([store.experiment_id], f"source_run_id = '{run_id}'")
    logged = next(iter(begun), None) or store.client.create_logged_model(
        store.experiment_id, name, source_run_id=run_id, model_type="classifier"
    )
    with tempfile.TemporaryDirectory() as folder:
        _save(Path(folder), logged, run_id, classifier)
        store.client.log_model_artifacts(logged.model_id, folder)
    store.client.finalize_logged_model(logged.model_id, "READY")
    store.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=classifier.step)])
    _make_name(store, name)
    with _default_store(store.uri):
        version = store.client.create_model_version(
            name,
            f"models:/{logged.model_id}",
            run_id=run_id,
            description=about or None,
            model_id=logged.model_id,
            await_creation_for=0,
        )
    return int(version.version)


def _save(folder: Path, logged: Any, run_id: str, classifier: Classifier) -> None:
    """Write a model in the form of MLflow's "models from code", with the packages that it needs to be served.

    ``pyfunc.save_model`` would write as much, after a second in which it goes through all installed packages for a
    warning. Source: mlflow.org/docs/latest/ml/model, "MLflow Model Format" and "Models From Code".
    """
    from mlflow.models import Model, ModelSignature  # noqa: PLC0415  # takes seconds to import

    layers, arrays = folder / _LAYERS, folder / _ARRAYS
    arrays.parent.mkdir()
    layers.write_text(classifier.layers, encoding="utf-8")
    arrays.write_bytes(classifier.arrays)
    shutil.copyfile(_CODE, folder / _CODE.name)
    python = ".".join(map(str, sys.version_info[:3]))
    _write_environment(folder, python)
    model = Model(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        model_id=logged.model_id,
        run_id=run_id,
        signature=ModelSignature.from_dict(signature(classifier.kind, classifier.image_shape, classifier.classes)),
        model_size_bytes=sum(file.stat().st_size for file in (layers, arrays, folder / _CODE.name)),
    )
    model.add_flavor(
        "python_function",
        loader_module="mlflow.pyfunc.loaders.code_model",
        model_code_path=_CODE.name,
        artifacts={Path(file).stem: {"path": file, "uri": file} for file in (_LAYERS, _ARRAYS)},
        env={"conda": _CONDA, "virtualenv": _VIRTUALENV},
        python_version=python,
        streamable=False,
    )
    model.save(folder / "MLmodel")


def _write_environment(folder: Path, python: str) -> None:
    packages = [f"{package}=={metadata.version(package)}" for package in _PACKAGES]
    dependencies = [f"python={python}", "pip", {"pip": packages}]
    conda = {"name": "mlflow-env", "channels": ["conda-forge"], "dependencies": dependencies}
    build = ["pip", "setuptools", "wheel"]
    virtualenv = {"python": python, "build_dependencies": build, "dependencies": ["-r requirements.txt"]}
    (folder / "requirements.txt").write_text("\n".join(packages), encoding="utf-8")
    (folder / _CONDA).write_text(yaml.safe_dump(conda, sort_keys=False), encoding="utf-8")
    (folder / _VIRTUALENV).write_text(yaml.safe_dump(virtualenv, sort_keys=False), encoding="utf-8")


def _make_name(store: Store, name: str) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415  # takes seconds to import

    try:
        store.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


@contextlib.contextmanager
def _default_store(uri: str) -> Iterator[None]:
    """Make a store MLflow's default: its registry looks a model up in that, whatever store it is part of."""
    name = "MLFLOW_TRACKING_URI"
    before = os.environ.get(name)
    os.environ[name] = uri
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
