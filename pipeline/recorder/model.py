"""The winner of a sweep as a registered model: MLflow's pyfunc, with all that it needs inside it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.recorder.signature import signature
from pipeline.recorder.store import Store

_CODE = Path(__file__).with_name("classifier.py")
_PACKAGES = ("mlflow", "numpy", "pandas")


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """A trained linear model: weights ``(C, D + 1)``, the mean image ``(D,)``, and the step it comes from."""

    weights: np.ndarray
    mean: np.ndarray
    classes: tuple[str, ...]
    image_shape: tuple[int, ...]
    step: int


def register(store: Store, run_id: str, name: str, classifier: Classifier) -> int:
    """Keep a trained model with its run, make it a version of the registered model ``name``; return the version.

    Its input are raw images, uint8 ``(N, *image_shape)``; its output has the columns ``class``, the name of
    the class with the highest score, and ``scores``, all scores by class name. What has a version keeps it.
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
        store.client.log_model_artifacts(logged.model_id, str(Path(folder, "model")))
    store.client.finalize_logged_model(logged.model_id, "READY")
    store.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=classifier.step)])
    _make_name(store, name)
    with _default_store(store.uri):
        version = store.client.create_model_version(
            name, f"models:/{logged.model_id}", run_id=run_id, model_id=logged.model_id, await_creation_for=0
        )
    return int(version.version)


def _save(folder: Path, logged: Any, run_id: str, classifier: Classifier) -> None:
    from mlflow import pyfunc  # noqa: PLC0415  # takes seconds to import
    from mlflow.models import Model, ModelSignature  # noqa: PLC0415  # takes seconds to import

    arrays = folder / "arrays.npz"
    np.savez(arrays, weights=classifier.weights, mean=classifier.mean, classes=np.array(classifier.classes))
    model = Model(
        artifact_path=logged.artifact_location, model_uuid=logged.model_id, model_id=logged.model_id, run_id=run_id
    )
    with _quiet():
        pyfunc.save_model(
            path=str(folder / "model"),
            python_model=str(_CODE),
            artifacts={"arrays": str(arrays)},
            signature=ModelSignature.from_dict(signature(classifier.image_shape, classifier.classes)),
            # Without them MLflow finds them out by running the model in another process.
            pip_requirements=[f"{package}=={metadata.version(package)}" for package in _PACKAGES],
            mlflow_model=model,
        )


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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep back MLflow's advice to add an example of the input: the signature is given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
