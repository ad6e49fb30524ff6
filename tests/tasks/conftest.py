"""A small data set with structure: class prototypes and noise, uint8, five classes."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from tasks.datasets.dataset import Split, make_dataset


def _split(count, rng, prototypes, noise=30):
    labels = rng.integers(len(prototypes), size=count)
    images = np.clip(prototypes[labels] + rng.normal(0, noise, size=(count, prototypes.shape[1])), 0, 255)
    return Split(images=images.astype(np.uint8), labels=labels)


@pytest.fixture(scope="session")
def small_dataset():
    rng = np.random.default_rng(7)
    prototypes = rng.uniform(40, 215, size=(5, 37))
    return make_dataset(
        name="small",
        train=_split(2300, rng, prototypes),  # more than two blocks, the last one ragged
        test=_split(200, rng, prototypes),
        classes=tuple("abcde"),
        image_shape=(37,),
        validation=150,
    )


@pytest.fixture(scope="session")
def tabular_dataset():
    """Features of very different ranges, below zero too, scaled to one."""
    rng = np.random.default_rng(9)
    features = (rng.standard_normal((240, 6)) * [1e-3, 1, 1e3, 5, 0.1, 20] + [0, -50, 1e4, 0, 3, 1]).astype(np.float32)
    labels = (features[:, 1] > -50).astype(np.int64) + (features[:, 3] > 0)
    return make_dataset(
        name="tabular",
        train=Split(images=features[:200], labels=labels[:200]),
        test=Split(images=features[200:], labels=labels[200:]),
        classes=tuple("abc"),
        image_shape=(6,),
        validation=30,
        scaling="standard",
    )


@pytest.fixture(scope="session")
def image_dataset():
    rng = np.random.default_rng(8)
    prototypes = rng.uniform(0, 16, size=(4, 2 * 8 * 8))
    return make_dataset(
        name="images",
        train=_split(330, rng, prototypes, noise=3),
        test=_split(50, rng, prototypes, noise=3),
        classes=tuple("abcd"),
        image_shape=(2, 8, 8),
        validation=30,
    )


@pytest.fixture(autouse=True)
def _one_blas_thread():
    with threadpool_limits(1, user_api="blas"):
        yield
