"""Registers the winner of a sweep as a model: a self-contained MLflow pyfunc."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from pipeline.config.environment import variables
from pipeline.record.artifacts import LONGEST_TAG, arrays_file, shorten, signature
from pipeline.record.protocol import Data, Trained
from pipeline.reports import Finished
from pipeline.tracking.connection import refusals
from tasks.datasets.dataset import Dataset
from tasks.models.layered import Layered
from tasks.trial import uses_model

if TYPE_CHECKING:
    from mlflow import MlflowClient  # takes seconds to import

_CODE = Path(__file__).with_name("classifier.py")
_PACKAGES = ("mlflow", "numpy", "pandas")
_ARRAYS, _LAYERS = "artifacts/arrays.npz", "artifacts/layers.json"
_CONDA, _VIRTUALENV = "conda.yaml", "python_env.yaml"


def trained_model(finished: Finished, name: str, dataset: Dataset, about: str = "") -> Trained | None:
    """Return the layers and arrays of a training's classifier, None if its model's class does not define ``layers``.

    A package's model that inherits ``layers`` from one of ours may compute something else.

    ``name`` is the name of the registered model, ``about`` says why the sweep registers this trial.
    """
    planned, result = finished.trial, finished.result
    model = planned.trial.model
    if not planned.trial.task.trains or not uses_model(planned.trial):
        return None
    if not isinstance(model, Layered) or "layers" not in vars(type(model)):
        return None
    layers = model.layers(dataset.image_shape)
    names = [layer["weights"] for layer in layers if "weights" in layer]
    weights = {f"weights/{name}": result.arrays[name] for name in names}
    scale = np.ones_like(dataset.mean) if dataset.scale is None else dataset.scale
    kept = {"mean": dataset.mean, "scale": scale, "classes": np.array(dataset.classes)}
    return Trained(
        trial=planned,
        name=name,
        about=about,
        step=result.step,
        signature=signature(Data.of(dataset)),
        layers=json.dumps(layers, indent=2),
        arrays=arrays_file(kept | weights),
    )


def register(client: MlflowClient, uri: str, experiment_id: str, run_id: str, model: Trained) -> int:
    """Log a trained model with its run, register it as a version of its registered model, and return the version.

    This is idempotent.
    """
    from mlflow.entities import LoggedModelOutput  # noqa: PLC0415  # takes seconds to import

    for known in client.search_model_versions(f"run_id = '{run_id}'"):
        if known.name == model.name:
            return int(known.version)
    # An attempt that failed may have created it.
    begun = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'")
    logged = next(iter(begun), None) or client.create_logged_model(
        experiment_id, model.name, source_run_id=run_id, model_type="classifier"
    )
    with tempfile.TemporaryDirectory() as folder:
        _save(Path(folder), logged, run_id, model)
        client.log_model_artifacts(logged.model_id, folder)
    client.finalize_logged_model(logged.model_id, "READY")
    outputs = client.get_run(run_id).outputs
    if outputs is None or logged.model_id not in {one.model_id for one in outputs.model_outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=model.step)])  # a second one is refused
    refusals(lambda: client.create_registered_model(model.name))  # it is refused where there is one
    with variables({"MLFLOW_TRACKING_URI": uri}):  # every registry looks up a logged model in the default store
        version = client.create_model_version(
            model.name,
            f"models:/{logged.model_id}",
            run_id=run_id,
            description=shorten(model.about, LONGEST_TAG) or None,
            model_id=logged.model_id,
            await_creation_for=0,
        )
    return int(version.version)


def _save(folder: Path, logged: Any, run_id: str, trained: Trained) -> None:
    """Write a model in the form of MLflow's "models from code", with the packages that it needs to be served.

    ``pyfunc.save_model`` would write the same, but takes a second to search all installed packages for a warning.
    Source: mlflow.org/docs/latest/ml/model, "MLflow Model Format" and "Models From Code".
    """
    from mlflow.models import Model, ModelSignature  # noqa: PLC0415  # takes seconds to import

    layers, arrays = folder / _LAYERS, folder / _ARRAYS
    arrays.parent.mkdir()
    layers.write_text(trained.layers, encoding="utf-8")
    arrays.write_bytes(trained.arrays)
    shutil.copyfile(_CODE, folder / _CODE.name)
    python = ".".join(map(str, sys.version_info[:3]))
    _write_environment(folder, python)
    model = Model(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        model_id=logged.model_id,
        run_id=run_id,
        signature=ModelSignature.from_dict(dict(trained.signature)),
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
