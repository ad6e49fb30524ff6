"""The contract that every row of the table of datasets keeps."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.datasets import DATASETS, Split, make_dataset
from tasks.datasets.scikit import Scikit
from tasks.datasets.table import Table
from tasks.errors import ConfigError, DataError
from tasks.rows import describe_row, parse_row

CONF = Path(__file__).parents[3] / "conf" / "dataset"


@pytest.fixture(params=sorted(DATASETS.keys() - {"none"}))
def source(request, tmp_path):
    """Return a row of the table that loads: twelve validation examples, real files, a server on loopback."""
    rng = np.random.default_rng(0)
    rows = {"digits": {}, "synthetic": {"examples": 60}}
    if request.param == "cifar10":
        rows["cifar10"] = {"root": str(request.getfixturevalue("binary_folder"))}
    if request.param == "openml":
        pixels = rng.integers(0, 256, (50, 12)).tolist()
        request.getfixturevalue("openml")("small", pixels, [str(i % 3) for i in range(50)])
        rows["openml"] = {"data_name": "small", "root": str(tmp_path), "test": 10}
    if request.param == "npz":
        images, labels = rng.integers(0, 256, (50, 4, 3), dtype=np.uint8), np.arange(50) % 3
        arrays = {"train_images": images, "train_labels": labels, "test_images": images[:9], "test_labels": labels[:9]}
        np.savez(tmp_path / "set.npz", **arrays)
        rows["npz"] = {"root": str(tmp_path / "set.npz")}
    if request.param == "table":
        lines = [f"{row % 7},{row / 3},{'ab'[row % 2]}" for row in range(50)]
        (tmp_path / "set.csv").write_text("\n".join(["x,y,kind", *lines]))
        rows["table"] = {"root": str(tmp_path / "set.csv"), "label": "kind"}
    if request.param == "sklearn":
        rows["sklearn"] = {"data_name": "wine"}
    if request.param == "images":
        for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
            (tmp_path / name).mkdir(parents=True)
            for number in range(10):
                Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)).save(tmp_path / name / f"{number}.png")
        rows["images"] = {"root": str(tmp_path)}
    return parse_row(DATASETS, "dataset", {"name": request.param, "validation": 12, **rows[request.param]})


@pytest.fixture(scope="module")
def loaded():
    """Return what loads a row, but the same one once: CIFAR-10 takes a second."""
    return functools.cache(lambda source: source.load())


def test_every_row_loads_what_a_dataset_must_be(source, loaded):
    dataset = loaded(source)

    features = int(np.prod(dataset.image_shape))
    for split in (dataset.train, dataset.validation, dataset.test):
        assert split.images.dtype == (np.float32 if type(source) in {Table, Scikit} else np.uint8)
        assert split.images.shape == (len(split), features)
        assert split.images.flags.c_contiguous
        assert not split.images.flags.writeable
        assert split.labels.dtype == np.int64
        assert split.labels.shape == (len(split),)
        assert not split.labels.flags.writeable
        assert set(np.unique(split.labels)) <= set(range(len(dataset.classes)))
    assert not any(one.flags.writeable for one in (dataset.mean, dataset.scale) if one is not None)
    assert len(dataset.validation) == 12
    assert len(set(dataset.classes)) == len(dataset.classes) >= 2
    assert len(np.unique(dataset.train.labels)) == len(dataset.classes)
    assert dataset.mean.dtype == np.float32
    np.testing.assert_allclose(dataset.mean, dataset.train.images.mean(axis=0, dtype=np.float64), rtol=1e-6)
    assert len(dataset.digest) == 64


def test_every_row_is_scaled_to_a_deviation_of_1_where_that_is_asked_for(source, loaded):
    plain, scaled = (loaded(dataclasses.replace(source, scaling=scaling)) for scaling in ("none", "standard"))

    centred = (scaled.train.images - scaled.mean) * scaled.scale
    deviation = np.sqrt(np.einsum("nd,nd->d", centred, centred, dtype=np.float64) / len(centred))
    varies = np.ptp(scaled.train.images, axis=0) > 0
    np.testing.assert_allclose(deviation[varies], 1, rtol=1e-4)
    assert (scaled.scale[~varies] == 1).all()
    assert plain.scale is None
    assert scaled.digest != plain.digest
    with pytest.raises(ConfigError, match=r"dataset\.scaling must be one of none, standard, got 'standrad'"):
        dataclasses.replace(source, scaling="standrad")


def test_features_that_hardly_vary_are_not_scaled_to_infinity():
    # given a feature whose deviation is so small that float32 does not hold one over it
    features = np.array([[0, 1], [1e-39, 2]] * 4, dtype=np.float32)
    split = Split(images=features, labels=np.arange(8) % 2)

    dataset = make_dataset(
        name="tiny", train=split, test=split, classes=("a", "b"), image_shape=(2,), validation=0, scaling="standard"
    )

    assert dataset.scale.tolist() == [1, 2]


def test_every_row_loads_the_same_twice(source, loaded):
    first, second = loaded(source), source.load()

    assert first.digest == second.digest
    np.testing.assert_array_equal(first.validation.images, second.validation.images)
    np.testing.assert_array_equal(first.train.labels, second.train.labels)


def test_validation_examples_are_taken_out_of_the_training_examples(source, loaded):
    whole, parted = dataclasses.replace(source, validation=0).load(), loaded(source)

    together = np.concatenate([parted.train.images, parted.validation.images])
    assert len(whole.validation) == 0
    assert Counter(map(bytes, whole.train.images)) == Counter(map(bytes, together))
    np.testing.assert_array_equal(whole.test.images, parted.test.images)
    assert whole.digest != parted.digest


def test_every_row_refuses_a_validation_split_that_cannot_be(source):
    with pytest.raises(ConfigError, match=r"dataset\.validation must be >= 0.*, got -1"):
        dataclasses.replace(source, validation=-1)
    with pytest.raises(ConfigError, match=r"dataset\.validation must be .* below .*, got 1000000"):
        dataclasses.replace(source, validation=1_000_000).load()


def test_every_row_is_described_as_it_was_parsed(source):
    description = describe_row(DATASETS, source)

    assert parse_row(DATASETS, "dataset", description) == source


@pytest.mark.parametrize("name", ["cifar10", "images", "npz", "table"])
def test_a_home_that_nobody_has_is_a_path_that_is_not_there(name):
    with pytest.raises(DataError, match=r"dataset\.root must .*~nobody-of-this-name/set"):
        DATASETS[name](root="~nobody-of-this-name/set.csv").load()


def test_every_row_has_a_config_file_that_opens_with_its_command():
    for name in DATASETS:
        lines = (CONF / f"{name}.yaml").read_text().splitlines()
        assert lines[0].startswith(f"# descent-sweeps dataset={name}")
        assert lines[1] == f"defaults: [/schema/dataset/{name}@_here_]"
    assert {file.stem for file in CONF.iterdir()} == set(DATASETS)


def example(**changes):
    """Return the arguments of a small dataset."""
    images = np.arange(24, dtype=np.uint8).reshape(6, 4)
    split = Split(images=images, labels=np.arange(6) % 2)
    return {
        "name": "small",
        "train": split,
        "test": split,
        "classes": ("a", "b"),
        "image_shape": (2, 2),
        "validation": 2,
    } | changes


@pytest.mark.parametrize(
    "change",
    [
        lambda images, labels: (np.where(images == 23, 0, images).astype(np.uint8), labels),
        lambda images, labels: (images, np.array([1, 1, 0, 1, 0, 1])),
        lambda images, labels: (images[::-1], labels),
    ],
)
def test_the_digest_tells_apart_what_differs(change):
    arguments = example()
    images, labels = change(arguments["train"].images, arguments["train"].labels)

    changed = make_dataset(**example(train=Split(images=images, labels=labels)))

    assert changed.digest != make_dataset(**arguments).digest


def test_the_digest_knows_the_names_of_the_classes():
    assert make_dataset(**example()).digest != make_dataset(**example(classes=("a", "c"))).digest


def test_the_digest_knows_the_shape_of_the_images():
    shapes = [(2, 2), (1, 4), (4, 1), (2, 2, 1)]
    assert len({make_dataset(**example(image_shape=shape)).digest for shape in shapes}) == len(shapes)


@pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 2, 2)])
def test_the_digest_of_features_and_of_square_images_is_the_one_they_were_recorded_with(shape):
    dataset = make_dataset(**example(image_shape=shape))
    expected = hashlib.sha256(b"('a', 'b')")
    for split in (dataset.train, dataset.validation, dataset.test):
        expected.update(f"({len(split)}, 4)".encode() + split.images.tobytes() + split.labels.tobytes())
    assert dataset.digest == expected.hexdigest()


def test_the_callers_arrays_stay_writeable():
    arguments = example(validation=0)

    make_dataset(**arguments)

    assert arguments["train"].images.flags.writeable


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            np.zeros((6, 4)),
            np.zeros(6, np.int64),
            r"small train: images must be uint8 \(N, 4\).*, got float64 \(6, 4\)",
        ),
        (np.zeros((6, 5), np.uint8), np.zeros(6, np.int64), r"images must be uint8 \(N, 4\).*, got uint8 \(6, 5\)"),
        (np.full((6, 4), np.nan, np.float32), np.zeros(6, np.int64), r"must be finite, got nan in row 0, column 0"),
        (np.zeros((6, 4), np.float32), np.zeros(6, np.int64), r"test: images must be of the type .*uint8 and float32"),
        (np.zeros((6, 4), np.uint8), np.zeros(5, np.int64), r"labels must be int64 \(6,\), got int64 \(5,\)"),
        (np.zeros((6, 4), np.uint8), np.full(6, 2), r"one of the 2 classes 0 to 1, got 2"),
        (np.zeros((6, 4), np.uint8), np.full(6, -1), r"one of the 2 classes 0 to 1, got -1"),
        (np.zeros((0, 4), np.uint8), np.zeros(0, np.int64), r"at least one example, got none"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        make_dataset(**example(train=Split(images=images, labels=labels)))


def test_a_sample_of_a_dataset_is_evenly_spread_and_of_the_same_kind(source, loaded):
    dataset = loaded(source)

    some = dataset.sample(11)

    for part in ("train", "validation", "test"):
        whole, spread = getattr(dataset, part), getattr(some, part)
        assert len(spread) == min(11, len(whole))
        places = [n * (len(whole) - 1) // (len(spread) - 1) for n in range(len(spread))]
        assert np.array_equal(spread.images, whole.images[places])
        assert np.array_equal(spread.labels, whole.labels[places])
    assert (some.digest, some.mean is dataset.mean) == (dataset.digest, True)
    assert len(dataset.sample(0).train) == 0
