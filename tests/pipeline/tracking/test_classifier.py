"""The code in a registered model computes, layer by layer, the scores that the project does."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.plan.plan import PlannedTrial
from pipeline.reports import Finished, Layout
from pipeline.tracking.model import trained_model
from tasks.arrays.devices import HOST
from tasks.datasets.dataset import Split, make_dataset
from tasks.events import Outcome, Result
from tasks.fused.problem import Problem
from tasks.models import MODELS, ConvNet, Linear, Mlp, layered
from tasks.models.layered import first_filters
from tasks.studies.train import Train
from tasks.trial import Trial

with warnings.catch_warnings():
    # MLflow warns of its own type hints while it is imported.
    warnings.filterwarnings("ignore", ".*Any type hint", UserWarning)
    from pipeline.tracking.classifier import AT_ONCE, LAYERS, ImageClassifier

SHAPES = {
    "linear": (Linear(), (2, 3)),
    "mlp": (Mlp(hidden=(7,)), (3, 4, 4)),
    "mlp_deep": (Mlp(hidden=(7, 5), activation="tanh"), (20,)),
    "convnet": (ConvNet(channels=(4, 6)), (3, 8, 8)),
    "convnet_gray": (ConvNet(channels=(4,), kernel=5, hidden=(9,)), (7, 5)),
}


def dataset_of(image_shape, scaling):
    rng = np.random.default_rng(0)
    count = AT_ONCE + 1  # more than go through the layers at once
    images = rng.integers(0, 256, (count, np.prod(image_shape)), dtype=np.uint8)
    split = Split(images=images, labels=np.arange(count) % 3)
    return make_dataset(
        name="d",
        train=split,
        test=split,
        classes=("a", "b", "c"),
        image_shape=image_shape,
        validation=0,
        scaling=scaling,
    )


def problem_of(model, dataset):
    """Return the problem of a trial, and a point of its model whose biases are not 0."""
    trial = Trial(task=Train(), model=model)
    problem = Problem.of([trial], dataset, like=HOST, threads=1)
    drawn = np.random.default_rng(1).normal(scale=0.3, size=(1, problem.size))
    return problem, drawn.astype(np.float32)


def served(model, dataset, arrays, folder):
    """Return the classifier of trained weights, read from the files that are kept in the registered model."""
    result = Result(trial=0, outcome=Outcome.COMPLETE, step=1, metrics={}, arrays=arrays)
    trial = Trial(task=Train(), model=model)
    planned = PlannedTrial(index=0, key="k", name="n", overrides=(), config={}, trial=trial)
    layout = Layout(width=1, slot=0, threads=1, host="", device="cpu", blas="")
    kept = trained_model(Finished(trial=planned, result=result, layout=layout), "m", dataset)
    (folder / "layers.json").write_text(kept.layers)
    (folder / "arrays.npz").write_bytes(kept.arrays)
    classifier = ImageClassifier()
    paths = {"layers": str(folder / "layers.json"), "arrays": str(folder / "arrays.npz")}
    classifier.load_context(SimpleNamespace(artifacts=paths))
    return classifier


@pytest.mark.parametrize("scaling", ["none", "standard"])
@pytest.mark.parametrize("name", SHAPES)
def test_a_registered_model_gives_the_scores_of_its_training(name, scaling, tmp_path):
    # given a trained model of the table, of any depth
    model, image_shape = SHAPES[name]
    dataset = dataset_of(image_shape, scaling)
    problem, point = problem_of(model, dataset)
    classifier = served(model, dataset, problem.named(point[0]), tmp_path)
    # when raw images are classified
    raw = dataset.test.images.reshape(-1, *image_shape)
    frame = classifier.predict(None, raw)
    # then class and scores are those that the arrangement of the project computes
    arrangement = model.arrange(1, image_shape, 3, [len(raw)], like=HOST)
    scores = arrangement.scores(arrangement.rows(point), problem.features(dataset.test.images))[0].T
    found = np.array([[row[c] for c in "abc"] for row in frame["scores"]])
    np.testing.assert_allclose(found, scores, rtol=2e-5, atol=2e-5 * np.abs(scores).max())
    assert frame["class"].tolist() == [dataset.classes[k] for k in scores.argmax(axis=1)]


def test_every_model_of_the_table_can_be_served():
    assert {type(model) for model, _ in SHAPES.values()} == set(MODELS.values())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("linear", ("weights", (2, 3), True)),
        ("mlp", ("hidden1", (3, 4, 4), False)),
        ("convnet", ("convolution1", (3, 3, 3), False)),
        ("convnet_gray", ("convolution1", (1, 5, 5), False)),
    ],
)
def test_the_first_layer_with_weights_sees_pixels(name, expected):
    model, image_shape = SHAPES[name]
    assert first_filters(model, image_shape) == expected


def test_no_image_is_no_class(tmp_path):
    model, image_shape = SHAPES["convnet"]
    dataset = dataset_of(image_shape, "none")
    problem, point = problem_of(model, dataset)
    classifier = served(model, dataset, problem.named(point[0]), tmp_path)

    assert classifier.predict(None, np.zeros((0, *image_shape), dtype=np.uint8)).empty


def test_a_value_that_is_missing_is_no_class(tmp_path):
    model, image_shape = SHAPES["mlp_deep"]
    dataset = dataset_of(image_shape, "none")
    problem, point = problem_of(model, dataset)
    classifier = served(model, dataset, problem.named(point[0]), tmp_path)
    features = np.zeros((AT_ONCE + 2, *image_shape), dtype=np.float32)
    features[AT_ONCE, 3], features[-1, 0] = np.nan, np.inf

    with pytest.raises(
        ValueError, match=rf"features must be finite, got others in the rows \[{AT_ONCE}, {AT_ONCE + 1}\]"
    ):
        classifier.predict(None, features)


def test_the_layers_that_a_model_may_describe_are_those_of_the_code():
    assert {*LAYERS} == {*layered.LAYERS}
