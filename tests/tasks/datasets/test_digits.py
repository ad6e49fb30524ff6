"""The digits bundled with scikit-learn."""

from __future__ import annotations

import numpy as np

from tasks.datasets.digits import Digits, _images_and_labels


def test_the_digits_are_scikit_learns_split_in_1437_and_360():
    from sklearn.datasets import load_digits

    dataset = Digits(validation=0).load()

    assert (len(dataset.train), len(dataset.test)) == (1437, 360)
    assert dataset.train.images.max() == 16
    assert dataset.classes == tuple("0123456789")
    images, labels = load_digits(return_X_y=True)
    known = sorted((bytes(image), label) for image, label in zip(images.astype(np.uint8), labels, strict=True))
    found = [
        (bytes(image), label)
        for split in (dataset.train, dataset.test)
        for image, label in zip(split.images, split.labels, strict=True)
    ]
    assert sorted(found) == known


def test_every_digit_is_tested_about_equally_often():
    dataset = Digits().load()

    counts = np.bincount(dataset.test.labels)

    assert counts.min() >= 25
    assert len(dataset.validation) == 287


def test_a_scikit_learn_that_keeps_its_file_elsewhere_is_asked_for_the_same_digits():
    for found, known in zip(_images_and_labels("elsewhere.csv.gz"), _images_and_labels(), strict=True):
        np.testing.assert_array_equal(found, known)
        assert found.dtype == known.dtype
