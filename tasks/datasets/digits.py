"""The handwritten digits that scikit-learn brings along: 1797 real images of 8 x 8 pixels, no download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.datasets.dataset import Dataset, Split, make_dataset
from tasks.datasets.source import Progress
from tasks.errors import require

TEST = 360  # a fifth of the images, drawn once for all: results on them can be compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """Handwritten digits, pixels 0 to 16; 360 of the 1797 images are the test split.

    ``validation`` of the other 1437 are set apart for validation.

    >>> Digits().load().image_shape
    (8, 8)
    """

    validation: int = 287

    def __post_init__(self) -> None:
        require(self.validation >= 0, "dataset.validation", "must be >= 0", self.validation)

    def load(self, *, progress: Progress | None = None) -> Dataset:  # noqa: ARG002 - it is read at once
        """Read the images from the installed scikit-learn."""
        from sklearn.datasets import load_digits  # noqa: PLC0415 - its import takes seconds, and only this row needs it

        images, digits = load_digits(return_X_y=True)
        images, labels = images.astype(np.uint8), digits.astype(np.int64)
        order = np.random.default_rng(0).permutation(len(labels))
        train, test = order[TEST:], order[:TEST]
        return make_dataset(
            name="digits",
            train=Split(images=images[train], labels=labels[train]),
            test=Split(images=images[test], labels=labels[test]),
            classes=tuple("0123456789"),
            image_shape=(8, 8),
            validation=self.validation,
        )
