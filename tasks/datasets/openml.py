"""Any classification image set of openml.org by its name and version, through scikit-learn's fetcher."""

from __future__ import annotations

import importlib.util
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.datasets.columns import class_text, first_text, numbered
from tasks.datasets.dataset import Dataset, Split, check_scaling, make_dataset
from tasks.datasets.source import ProgressCallback
from tasks.errors import DataError, require

_QUOTED = re.compile("^'(.*)'$")
"""A class with ARFF's quotes, which pandas leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMl:
    """The set ``data_name``, ``version`` of openml.org, cached in the folder ``root``.

    Without ``root``, the cache is scikit-learn's own data folder. The last ``test`` examples are the test split
    (as the publishers of MNIST and Fashion-MNIST ordered them); with a ``split_seed`` they are drawn at
    random instead, for sets that are ordered by class.
    """

    data_name: str = "mnist_784"
    version: int = 1
    root: str | None = None
    test: int = 10_000
    split_seed: int | None = None
    validation: int = 5_000
    scaling: str = "none"

    def __post_init__(self) -> None:
        check_scaling(self.scaling)
        require(bool(self.data_name.strip()), "dataset.data_name", "must be a name of openml.org", self.data_name)
        require(self.version >= 1, "dataset.version", "must be >= 1", self.version)
        require(self.test >= 1, "dataset.test", "must be >= 1", self.test)
        seed = self.split_seed
        require(seed is None or seed >= 0, "dataset.split_seed", "must be >= 0, or null for no shuffling", seed)
        require(self.validation >= 0, "dataset.validation", "must be >= 0", self.validation)

    def load(self, *, progress: ProgressCallback | None = None) -> Dataset:  # noqa: ARG002 - scikit-learn's fetcher reports none
        """Fetch the set, or read it where it has been fetched before."""
        title = f"openml.org {self.data_name} version {self.version}"
        pixels, names = self._fetch(title)
        images = _pixels(title, pixels)
        classes, labels = _classes(title, names)
        if self.test >= len(labels):
            raise DataError(f"{title}: dataset.test must be below its {len(labels)} examples, got {self.test}")
        if self.split_seed is not None:
            order = np.random.default_rng(self.split_seed).permutation(len(labels))
            images, labels = images[order], labels[order]
        return make_dataset(
            name=self.data_name,
            train=Split(images=images[: -self.test], labels=labels[: -self.test]),
            test=Split(images=images[-self.test :], labels=labels[-self.test :]),
            classes=classes,
            image_shape=image_shape(images.shape[1]),
            validation=self.validation,
            scaling=self.scaling,
        )

    def _fetch(self, title: str) -> tuple[Any, Any]:
        from sklearn.datasets import fetch_openml  # noqa: PLC0415 - its import takes seconds, few rows need it

        # pandas, where it is installed, reads MNIST in seconds, the pure Python parser in a minute. Its dtype is None,
        # so that it infers types: given categories, pandas 3 makes them numbers, which scikit-learn 1.9 takes as texts.
        options = (
            {"read_csv_kwargs": {"dtype": None}} if importlib.util.find_spec("pandas") else {"parser": "liac-arff"}
        )
        try:
            bunch = fetch_openml(self.data_name, version=self.version, data_home=self.root, as_frame=False, **options)
        except Exception as error:  # network, server, parser and cache each raise types of their own
            raise DataError(f"{title} cannot be fetched (dataset.root={self.root!r}): {error}") from error
        return bunch.data, bunch.target


def image_shape(features: int) -> tuple[int, ...]:
    """Return the shape of a square image with that many features, grey or in three colours, else a flat shape.

    >>> image_shape(784), image_shape(3072), image_shape(10)
    ((28, 28), (3, 32, 32), (10,))
    """
    for channels in ((), (3,)):
        side = math.isqrt(features // math.prod(channels))
        if math.prod(channels) * side * side == features:
            return (*channels, side, side)
    return (features,)


def _pixels(title: str, values: Any) -> np.ndarray:
    """Return the features as uint8 ``(N, D)``; raise a `DataError` where that would change one."""
    dense = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    if dense.ndim != 2 or not dense.size:
        raise DataError(f"{title}: the features must be a table of pixels (N, D), got {dense.shape}")
    if dense.dtype.kind not in "iuf":
        raise DataError(f"{title}: every pixel must be a whole number from 0 to 255, got {first_text(dense.flat)[1]!r}")
    with np.errstate(invalid="ignore"):  # a NaN has no uint8 value: it differs from any, and is refused below
        images = dense.astype(np.uint8)
    if not np.array_equal(images, dense):
        wrong = dense[images != dense][0]
        raise DataError(f"{title}: every pixel must be a whole number from 0 to 255, got {wrong}")
    return images


def _classes(title: str, values: Any) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names, numbers in numerical order, and each example's label."""
    found = np.asarray(values)
    names = list(map(class_text, found.tolist())) if found.ndim == 1 else [None]
    if None in names:
        raise DataError(f"{title}: the target must be one class an example, got {found.dtype} {found.shape}")
    return numbered(np.array([_QUOTED.sub(r"\1", str(name)) for name in names]))
