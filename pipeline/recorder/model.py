"""The winner of a sweep as a registered model: MLflow's pyfunc, with all that it needs inside it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.recorder.store import Store
from tasks.datasets.dataset import Dataset
from tasks.events import Result

_CODE = Path(__file__).with_name("classifier.py")
_PACKAGES = ("mlflow", "numpy", "pandas")


def register(store: Store, run_id: str, name: str, result: Result, dataset: Dataset) -> int:
    """Keep a trained model with its run, make it a version of the registered model ``name``; return the version.

    Its input are raw images, uint8 ``(N, *image_shape)``; its output has the columns ``class``, the name of
    the class with the highest score, and ``scores``, all scores by class name.
    """
    from mlflow.entities import LoggedModelOutput  # noqa: PLC0415  # takes seconds to import

    logged = store.client.create_logged_model(store.experiment_id, name, source_run_id=run_id, model_type="classifier")
    with tempfile.TemporaryDirectory() as folder:
        _save(Path(folder), logged, run_id, result.arrays["weights"], dataset)
        store.client.log_model_artifacts(logged.model_id, str(Path(folder, "model")))
    store.client.finalize_logged_model(logged.model_id, "READY")
    store.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=result.step)])
    _make_name(store, name)
    with _default_store(store.uri):
        version = store.client.create_model_version(
            name, f"models:/{logged.model_id}", run_id=run_id, model_id=logged.model_id, await_creation_for=0
        )
    return int(version.version)


def _save(folder: Path, logged: Any, run_id: str, weights: np.ndarray, dataset: Dataset) -> None:
    from mlflow import pyfunc  # noqa: PLC0415  # takes seconds to import
    from mlflow.models import Model, ModelSignature  # noqa: PLC0415  # takes seconds to import
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec  # noqa: PLC0415  # takes seconds to import
    from mlflow.types.schema import Object, Property  # noqa: PLC0415  # takes seconds to import

    arrays = folder / "arrays.npz"
    np.savez(arrays, weights=weights, mean=dataset.mean, classes=np.array(dataset.classes))
    scores = Object([Property(name, DataType.double) for name in dataset.classes])
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *dataset.image_shape))]),
        outputs=Schema([ColSpec(DataType.string, "class"), ColSpec(scores, "scores")]),
    )
    model = Model(
        artifact_path=logged.artifact_location, model_uuid=logged.model_id, model_id=logged.model_id, run_id=run_id
    )
    with _quiet():
        pyfunc.save_model(
            path=str(folder / "model"),
            python_model=str(_CODE),
            artifacts={"arrays": str(arrays)},
            signature=signature,
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
