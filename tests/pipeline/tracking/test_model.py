"""The winner of a sweep is a model that anyone with MLflow can load and serve."""

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow.artifacts import download_artifacts
from mlflow.models import ModelSignature, get_model_info

from pipeline.record.protocol import Provenance, SweepHeader, Trained
from pipeline.reports import Finished, Started
from pipeline.tracking.connection import connect
from pipeline.tracking.mlflow_recorder import MlflowRecorder
from pipeline.tracking.model import register as again
from pipeline.tracking.model import trained_model
from tasks.arrays.devices import HOST
from tasks.datasets.dataset import Split, make_dataset
from tasks.events import Outcome, Result
from tasks.fused.problem import Problem
from tasks.models.mlp import Mlp

# The weights are zero but for one pixel a class and the biases.
WEIGHTS = np.array([[0, 0, 0, 0, 1], [1, 0, 0, 0, 0]], dtype=np.float32)

LOAD = """
import sys
sys.modules["pipeline"] = sys.modules["tasks"] = None  # what is not installed
import json, mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
told = []
for uri, images in json.loads(sys.argv[2]):
    model = mlflow.pyfunc.load_model(uri)
    frame = model.predict(np.array(images, dtype=np.uint8))
    told.append([frame["class"].tolist(), frame["scores"].tolist(), str(model.metadata.signature)])
print(json.dumps(told))
"""


def image(pixel):
    return [[pixel, 0], [0, 0]]


def register(store_uri, experiment, dataset, trials, arrays, layout, *, status="FINISHED"):
    """Record a sweep whose last trial wins and return the name of the model it has become, and its run."""
    header = SweepHeader(name="a sweep", overrides=(), trials=trials)
    recorder = MlflowRecorder(store_uri, experiment, register_model=True)
    recorder.open(header, dataset, Provenance())
    for place, (planned, of_trial) in enumerate(zip(trials, arrays, strict=True)):
        recorder.record(Started(trial=planned))
        metrics = {"val/accuracy": 0.25 + 0.5 * place}
        result = Result(trial=0, outcome=Outcome.COMPLETE, step=10, metrics=metrics, arrays=of_trial)
        recorder.record(Finished(trial=planned, result=result, layout=layout))
    recorder.close(status)
    return f"{experiment}-{dataset.name}", recorder.run_id(trials[-1])


@pytest.fixture
def registered(store_uri, experiment, tiny, trial, layout):
    """Record a sweep of two trials and return the name of the model its winner has become."""
    arrays = [{"weights": WEIGHTS[::-1]}, {"weights": WEIGHTS}]
    return register(store_uri, experiment, tiny, (trial("worse"), trial("winner")), arrays, layout)


def test_a_version_says_that_it_is_the_best_of_the_repeats_of_the_best_setting(
    store_uri, experiment, tiny, trial, layout, client
):
    trials = tuple(trial(f"seed {seed}", seed=seed) for seed in (1, 2))
    arrays = [{"weights": WEIGHTS[::-1]}, {"weights": WEIGHTS}]

    name, _ = register(store_uri, experiment, tiny, trials, arrays, layout)

    told = "seed 2: the best of 2 repeats of gradient by val/accuracy, at least as good as their mean"
    assert client.get_model_version(name, "1").description == told


def test_a_model_of_a_package_is_registered_if_it_says_itself_what_its_layers_are(tiny, trial):
    class Inheriting(Mlp):
        def arrange(self, *given, like):
            return super().arrange(*given, like=like)

    class Saying(Inheriting):
        def layers(self, image_shape):
            return super().layers(image_shape)

    planned, known = trial(), {}
    for model in (Mlp(), Inheriting(), Saying()):
        arrays = {name: np.zeros(shape) for name, shape in model.shapes(tiny.image_shape, 2).items()}
        result = Result(trial=0, outcome=Outcome.COMPLETE, step=10, metrics={}, arrays=arrays)
        one = dataclasses.replace(planned, trial=dataclasses.replace(planned.trial, model=model))
        known[type(model)] = trained_model(Finished(trial=one, result=result, layout=None), "a model", tiny)

    assert [type_ for type_, model in known.items() if model is not None] == [Mlp, Saying]


@pytest.mark.parametrize(("status", "versions"), [("KILLED", 0), ("FAILED", 1)])
def test_a_sweep_that_was_stopped_has_no_model_yet(
    store_uri, experiment, tiny, trial, layout, client, status, versions
):
    name, _ = register(store_uri, experiment, tiny, (trial("one"),), [{"weights": WEIGHTS}], layout, status=status)

    assert len(client.search_model_versions(f"name='{name}'")) == versions


def load(store_uri, folder, images):
    """Return what models of these names give where this project is not installed: classes, scores and signature."""
    models = [(f"models:/{name}/1", shown) for name, shown in images.items()]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD, store_uri, json.dumps(models)],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_model_whose_experiment_was_renamed_becomes_a_version_of_another_name(registered, client, store_uri, trial):
    name, run = registered
    takes = {"inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, 2, 2]}}]'}
    trained = Trained(trial=trial(), name=f"{name} renamed", layers="[]", arrays=b"", signature=takes, step=0)
    experiment = client.get_run(run).info.experiment_id

    # and again, as if the answer to the first request had been lost
    assert [again(client, store_uri, experiment, run, trained) for _ in range(2)] == [1, 1]

    assert len(client.search_logged_models([experiment], f"source_run_id = '{run}'")) == 1


def test_the_winner_is_a_version_of_the_registered_model(registered, store_uri):
    name, winner = registered
    client = connect(store_uri, create=False)

    (version,) = client.search_model_versions(f"name='{name}'")

    assert (version.run_id, version.status) == (winner, "READY")
    assert version.source == f"models:/{client.get_run(winner).outputs.model_outputs[0].model_id}"


def test_its_signature_is_the_one_kept_with_the_sweep(registered, store_uri, monkeypatch):
    name, winner = registered
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_uri)
    client = connect(store_uri, create=False)

    model = get_model_info(f"models:/{name}/1")

    parent = client.get_run(winner).data.tags["mlflow.parentRunId"]
    kept = Path(client.download_artifacts(parent, "signature.json")).read_text()
    assert model.signature == ModelSignature.from_dict(json.loads(kept))


def test_what_it_needs_to_be_served_elsewhere_is_kept_with_it(registered, store_uri, tmp_path, monkeypatch):
    name, _ = registered
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_uri)
    packages = [f"{package}=={metadata.version(package)}" for package in ("mlflow", "numpy", "pandas")]

    model = Path(download_artifacts(f"models:/{name}/1", dst_path=str(tmp_path)))

    assert (model / "requirements.txt").read_text().splitlines() == packages
    python = ".".join(map(str, sys.version_info[:3]))
    conda = yaml.safe_load((model / "conda.yaml").read_text())
    assert conda["dependencies"] == [f"python={python}", "pip", {"pip": packages}]
    virtualenv = yaml.safe_load((model / "python_env.yaml").read_text())
    assert (virtualenv["python"], virtualenv["dependencies"]) == (python, ["-r requirements.txt"])
    flavor = yaml.safe_load((model / "MLmodel").read_text())["flavors"]["python_function"]
    files = [*flavor["env"].values(), flavor["model_code_path"], flavor["artifacts"]["arrays"]["path"]]
    assert all((model / file).is_file() for file in files)


def test_a_model_of_features_takes_floating_point(store_uri, experiment, trial, layout, monkeypatch):
    features = np.linspace(-3, 3, 12, dtype=np.float32).reshape(6, 2)
    split = Split(images=features, labels=np.arange(6) % 2)
    dataset = make_dataset(name="tabular", train=split, test=split, classes=("a", "b"), image_shape=(2,), validation=2)
    weights = np.zeros((2, 3), dtype=np.float32)

    name, _ = register(store_uri, experiment, dataset, (trial("winner"),), [{"weights": weights}], layout)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store_uri)
    (told,) = get_model_info(f"models:/{name}/1").signature.inputs.inputs
    assert (told.type, told.shape) == (np.float32, (-1, 2))


@pytest.mark.slow
def test_winners_are_loaded_without_this_project_and_take_raw_images(
    registered, store_uri, experiment, tiny, trial, layout, tmp_path
):
    # given a linear model, and a convolutional network, trained on scaled features
    name, _ = registered
    bright, dark = int(tiny.mean[0]) + 20, 0
    raw = np.random.default_rng(0).integers(0, 256, (6, 48), dtype=np.uint8)
    split = Split(images=raw, labels=np.arange(6) % 2)
    dataset = make_dataset(
        name="coloured",
        train=split,
        test=split,
        classes=("a", "b"),
        image_shape=(3, 4, 4),
        validation=2,
        scaling="standard",
    )
    winner = trial("winner", model={"name": "convnet", "channels": [4, 2], "hidden": [3]})
    problem = Problem.of([winner.trial], dataset, like=HOST, threads=1)
    points = problem.initial_weights([1.0])
    network, _ = register(store_uri, experiment, dataset, (winner,), [problem.named(points[0])], layout)
    # when both are loaded elsewhere
    images = {name: [image(bright), image(dark)], network: raw.reshape(6, 3, 4, 4).tolist()}
    (classes, scores, signature), (_, found, _) = load(store_uri, tmp_path, images)
    # then the first has the class that is bright in its images
    assert classes == ["b", "a"]
    assert scores[0] == {"a": 1.0, "b": pytest.approx(bright - float(tiny.mean[0]), abs=1e-5)}
    assert "uint8" in signature
    assert "(-1, 2, 2)" in signature
    # and the scores of the second are the project's
    arrangement = winner.trial.model.arrange(1, (3, 4, 4), 2, [6], like=HOST)
    expected = arrangement.scores(arrangement.rows(points), problem.features(raw))[0].T
    np.testing.assert_allclose([[row["a"], row["b"]] for row in found], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_it_is_served(registered, store_uri, tmp_path):
    name, _ = registered
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["--model-uri", f"models:/{name}/1", "--host", "127.0.0.1", "--port", str(port)]
    # MLflow looks for its web server among the commands.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store_uri, "PATH": path}
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        ) as server,
    ):
        try:
            answer = ask(f"http://127.0.0.1:{port}/invocations", {"inputs": [image(255), image(0)]})
        finally:
            os.killpg(server.pid, 15)

    assert [prediction["class"] for prediction in answer["predictions"]] == ["b", "a"], (tmp_path / "log").read_text()
    assert set(answer["predictions"][0]["scores"]) == {"a", "b"}


def ask(url, payload):
    request = urllib.request.Request(url, json.dumps(payload).encode(), {"Content-Type": "application/json"})
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionError, urllib.error.URLError):
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    return json.load(response)
            except urllib.error.HTTPError as error:
                pytest.fail(error.read().decode())
        time.sleep(0.5)
    return pytest.fail("the model server does not answer")
