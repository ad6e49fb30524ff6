"""Image sets of openml.org, asked from a server on loopback by scikit-learn's own fetcher."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from tasks.datasets.openml import OpenMl
from tasks.errors import ConfigError, DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 4)).tolist()
LABELS = [str(number) for number in [2, 10, 1] * 8]


def row(tmp_path, **changes):
    """Return the row of the small set."""
    return OpenMl(**{"data_name": "Small", "root": str(tmp_path), "test": 6, "validation": 0} | changes)


@pytest.mark.parametrize("pandas", [True, False])
def test_the_last_examples_are_the_test_split_with_either_parser(openml, tmp_path, monkeypatch, pandas):
    openml("Small", PIXELS, LABELS)
    if not pandas:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    dataset = row(tmp_path).load()

    np.testing.assert_array_equal(dataset.train.images, np.array(PIXELS[:18]))
    np.testing.assert_array_equal(dataset.test.images, np.array(PIXELS[18:]))
    assert dataset.classes == ("1", "2", "10")
    assert dataset.test.labels.tolist() == [1, 2, 0] * 2
    assert dataset.image_shape == (2, 2)


def test_a_set_is_fetched_once(openml, server, tmp_path):
    openml("Small", PIXELS, LABELS)

    first = row(tmp_path).load()
    server.files = {}
    second = row(tmp_path).load()

    assert first.digest == second.digest


def test_a_split_seed_draws_the_test_split(openml, tmp_path):
    openml("Small", PIXELS, LABELS)

    first, again, other = (row(tmp_path, split_seed=seed).load() for seed in (1, 1, 2))

    assert first.digest == again.digest != other.digest
    found = np.concatenate([first.train.images, first.test.images])
    assert sorted(found.tolist()) == sorted(PIXELS)


@pytest.mark.parametrize("pandas", [True, False])
def test_classes_that_are_words_are_sorted(openml, tmp_path, monkeypatch, pandas):
    openml("Small", PIXELS, ["shoe", "bag", "'rain coat'"] * 8)
    if not pandas:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    assert row(tmp_path).load().classes == ("bag", "rain coat", "shoe")


def test_only_quotes_around_a_class_are_no_part_of_it(openml, tmp_path):
    openml("Small", PIXELS, ["1'", "1", "'2'"] * 8)

    assert row(tmp_path).load().classes == ("1", "1'", "2")


@pytest.mark.parametrize("pandas", [True, False])
def test_classes_that_are_whole_numbers_are_alike_with_either_parser(openml, tmp_path, monkeypatch, pandas):
    openml("Small", PIXELS, LABELS, kind="NUMERIC")
    if not pandas:
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    assert row(tmp_path).load().classes == ("1", "2", "10")


@pytest.mark.parametrize("label", ["?", "0.5"])
def test_a_target_that_is_no_class_is_refused(openml, tmp_path, label):
    openml("Small", PIXELS, [label, *LABELS[1:]])

    with pytest.raises(DataError, match=r"Small version 1: the target must be one class an example, got float64"):
        row(tmp_path).load()


@pytest.mark.parametrize("wrong", [0.5, -1, 256, "?"])
def test_pixels_that_are_no_bytes_are_refused(openml, tmp_path, wrong):
    openml("Small", [[*PIXELS[0][:3], wrong], *PIXELS[1:]], LABELS)

    with pytest.raises(DataError, match=r"openml\.org Small version 1: every pixel must be a whole number .*, got "):
        row(tmp_path).load()


def test_a_pixel_that_is_a_text_is_the_one_that_is_named(openml, tmp_path):
    openml("Small", [*PIXELS[:3], [*PIXELS[3][:2], "black", 0], *PIXELS[4:]], LABELS)

    with pytest.raises(DataError, match=r"every pixel must be a whole number from 0 to 255, got 'black'"):
        row(tmp_path).load()


def test_a_test_split_as_large_as_the_set_is_refused(openml, tmp_path):
    openml("Small", PIXELS, LABELS)

    with pytest.raises(DataError, match=r"dataset\.test must be below its 24 examples, got 24"):
        row(tmp_path, test=24).load()


def test_a_set_that_is_not_there_is_named(openml, tmp_path):
    with pytest.raises(DataError, match=r"openml\.org nothing version 1 cannot be fetched"):
        row(tmp_path, data_name="nothing").load()


@pytest.mark.filterwarnings("ignore:Invalid cache")  # scikit-learn tries a second time
def test_a_file_with_another_checksum_is_refused(openml, server, tmp_path):
    openml("Small", PIXELS, LABELS)
    server.files["/Small.arff"] += b"0,0,0,0,1\n"

    with pytest.raises(DataError, match=r"cannot be fetched.*md5"):
        row(tmp_path).load()


@pytest.mark.parametrize(
    ("field", "value"), [("data_name", " "), ("version", 0), ("test", 0), ("split_seed", -1), ("validation", -1)]
)
def test_a_value_that_cannot_be_is_refused(field, value):
    with pytest.raises(ConfigError, match=rf"dataset\.{field} must be .*, got {value!r}"):
        OpenMl(**{field: value})
