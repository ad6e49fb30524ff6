"""A dataset from one NumPy archive: train_images, train_labels, test_images, test_labels and perhaps classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.datasets.dataset import Dataset, Split, check_scaling, make_dataset
from tasks.datasets.source import Progress
from tasks.errors import ConfigError, DataError, require

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True, slots=True, kw_only=True)
class Npz:
    """The arrays of the .npz file ``root``.

    Images are uint8 ``(N, ...)``, of one shape in both splits, labels whole numbers ``(N,)``. ``classes``, an
    array of texts, names label 0, 1, ...; without it the classes are the numbers 0 to C-1, each of which must
    then occur among the training labels.
    """

    root: str | None = None
    validation: int = 0
    scaling: str = "none"

    def __post_init__(self) -> None:
        check_scaling(self.scaling)
        require(self.validation >= 0, "dataset.validation", "must be >= 0", self.validation)

    def load(self, *, progress: Progress | None = None) -> Dataset:  # noqa: ARG002 - NumPy reads without a pause
        """Read the file; no object in it is ever unpickled."""
        if self.root is None:
            raise ConfigError("dataset.root must be the .npz file to read, got None")
        file = Path(self.root).expanduser()
        arrays = _read(file)
        train = _split(file, arrays, "train")
        test = _split(file, arrays, "test")
        shape = arrays["train_images"].shape[1:]
        if arrays["test_images"].shape[1:] != shape:
            found = arrays["test_images"].shape[1:]
            raise DataError(f"{file}: an image of test_images must have the shape {shape} of the others, got {found}")
        return make_dataset(
            name=file.stem,
            train=train,
            test=test,
            classes=_classes(file, arrays),
            image_shape=shape,
            validation=self.validation,
            scaling=self.scaling,
        )


def _read(file: Path) -> Mapping[str, np.ndarray]:
    if not file.is_file():
        raise DataError(f"dataset.root must be an .npz file, got {str(file)!r}, and there is no such file")
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in (*ARRAYS, "classes") if name in archive}
    except Exception as error:  # damage surfaces as any of a dozen types from zipfile, zlib and NumPy
        raise DataError(f"{file} must be a .npz file of plain arrays: {error or type(error).__name__}") from error
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise DataError(f"{file}: the arrays {', '.join(ARRAYS)} must be there, {missing[0]} is missing")
    return arrays


def _split(file: Path, arrays: Mapping[str, np.ndarray], part: str) -> Split:
    images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
    if images.dtype != np.uint8 or images.ndim < 2 or 0 in images.shape:
        raise DataError(f"{file}: {part}_images must be uint8 (N, ...), got {images.dtype} {images.shape}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        found = f"{labels.dtype} {labels.shape}"
        raise DataError(f"{file}: {part}_labels must be whole numbers ({len(images)},), got {found}")
    return Split(images=images.reshape(len(images), -1), labels=labels.astype(np.int64))


def _classes(file: Path, arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    if "classes" in arrays:
        names = arrays["classes"]
        if names.dtype.kind != "U" or names.ndim != 1:
            raise DataError(f"{file}: classes must be texts (C,), got {names.dtype} {names.shape}")
        return tuple(names.tolist())
    present = np.unique(arrays["train_labels"])
    if present[0] != 0 or present[-1] != len(present) - 1:
        found = f"{len(present)} different ones from {present[0]} to {present[-1]}"
        raise DataError(f"{file}: without classes, train_labels must be 0 to C-1 with none left out, got {found}")
    return tuple(str(number) for number in present)
