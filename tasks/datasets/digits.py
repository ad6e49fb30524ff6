"""The handwritten digits bundled with scikit-learn: 1797 real images of 8 x 8 pixels, no download."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.datasets.dataset import Dataset, Split, check_scaling, make_dataset
from tasks.datasets.source import ProgressCallback
from tasks.errors import require

FILE = "sklearn/datasets/data/digits.csv.gz"
"""Each row is an image, its digit last. It is read without importing scikit-learn, which takes two seconds."""

TEST = 360  # a fifth of the images, always the same ones, so that results can be compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """Handwritten digits, pixels 0 to 16; 360 of the 1797 images are the test split.

    ``validation`` of the other 1437 are held out for validation.

    >>> Digits().load().image_shape
    (8, 8)
    """

    validation: int = 287
    scaling: str = "none"

    def __post_init__(self) -> None:
        check_scaling(self.scaling)
        require(self.validation >= 0, "dataset.validation", "must be >= 0", self.validation)

    def load(self, *, progress: ProgressCallback | None = None) -> Dataset:  # noqa: ARG002 - it is read at once
        """Read the images from the installed scikit-learn."""
        images, labels = _images_and_labels()
        order = np.random.default_rng(0).permutation(len(labels))
        train, test = order[TEST:], order[:TEST]
        return make_dataset(
            name="digits",
            train=Split(images=images[train], labels=labels[train]),
            test=Split(images=images[test], labels=labels[test]),
            classes=tuple("0123456789"),
            image_shape=(8, 8),
            validation=self.validation,
            scaling=self.scaling,
        )


def _images_and_labels(file: str = FILE) -> tuple[np.ndarray, np.ndarray]:
    """Return the images uint8 ``(1797, 64)`` and their digits."""
    path = Path(str(importlib.metadata.distribution("scikit-learn").locate_file(file)))
    if path.exists():
        table = np.loadtxt(path, delimiter=",", dtype=np.uint8)
        return table[:, :-1], table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits  # noqa: PLC0415 - where scikit-learn keeps the file elsewhere

    images, digits = load_digits(return_X_y=True)
    return images.astype(np.uint8), digits.astype(np.int64)
