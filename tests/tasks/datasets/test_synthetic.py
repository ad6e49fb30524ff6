"""Seeded artificial images."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from tasks.datasets.synthetic import Synthetic
from tasks.errors import ConfigError


def test_any_number_of_examples_features_and_classes():
    dataset = Synthetic(examples=7, test_examples=3, features=5, classes=2, validation=1).load()

    assert dataset.train.images.shape == (6, 5)
    assert dataset.test.images.shape == (3, 5)
    assert dataset.image_shape == (5,)


def test_classes_have_the_same_number_of_examples():
    dataset = Synthetic(examples=35, classes=10, validation=0).load()

    counts = np.bincount(dataset.train.labels)

    assert sorted(counts) == [3] * 5 + [4] * 5


def test_the_size_of_a_block_changes_nothing():
    whole = Synthetic(examples=100, validation=10).load()

    blocks = Synthetic(examples=100, validation=10).load(block=64 * 7)

    assert blocks.digest == whole.digest


def test_another_seed_draws_other_images():
    assert Synthetic(seed=1).load().digest != Synthetic(seed=2).load().digest


def test_without_noise_an_image_is_its_classs_centre():
    dataset = Synthetic(noise=0, classes=3, validation=0).load()

    assert len(np.unique(dataset.train.images, axis=0)) == 3


def test_noise_has_the_standard_deviation_asked_for():
    dataset = Synthetic(examples=20_000, spread=0, noise=10, classes=2).load()

    assert dataset.train.images.std() == pytest.approx(10, abs=0.1)
    assert dataset.train.images.mean() == pytest.approx(128, abs=0.1)


def test_the_progress_counts_examples():
    seen = []

    Synthetic(examples=100, validation=10).load(progress=lambda done, total: seen.append((done, total)), block=64 * 40)

    assert seen == [(40, 100), (80, 100), (100, 100)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("examples", 0),
        ("test_examples", 0),
        ("features", 0),
        ("classes", 1),
        ("spread", -1.0),
        ("spread", 1e300),
        ("noise", math.nan),
        ("noise", math.inf),
        ("seed", -1),
        ("validation", 1000),
    ],
)
def test_a_number_that_cannot_be_is_refused(field, value):
    with pytest.raises(ConfigError, match=rf"dataset\.{field} must be .*, got {re.escape(str(value))}"):
        Synthetic(**{field: value})
