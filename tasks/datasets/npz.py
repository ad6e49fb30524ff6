"""A dataset from one NumPy archive, with arrays named as in MedMNIST or in Keras."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.datasets.dataset import Dataset, Split, check_scaling, make_dataset
from tasks.datasets.source import ProgressCallback, expanded
from tasks.errors import ConfigError, DataError, require

_KERAS = ("x_{part}", "y_{part}")
NAMINGS = ("{part}_images", "{part}_labels"), _KERAS
"""The names of the images and labels of a split (train, val, test)."""

_CHANNELS = (1, 3)

CLASSES = "classes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Npz:
    """The arrays of the .npz file ``root``.

    They are ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``, and perhaps ``val_images`` and
    ``val_labels``, or ``x_train``, ``y_train`` and so on. Images are uint8 ``(N, ...)``, of one shape in all splits,
    or features of any floating-point type, kept as float32. Images ``(N, H, W, C)`` of 1 or 3 channels are read with
    their channels first. Where the second axis may be the channels, too, they are last with Keras' names only.
    Labels are whole numbers ``(N,)`` or ``(N, 1)``.
    ``classes``, an array of texts, names label 0, 1, ...; without it the classes are the numbers 0 to C-1, each of
    which must then occur among the training labels.
    """

    root: str | None = None
    validation: int = 0
    scaling: str = "none"

    def __post_init__(self) -> None:
        check_scaling(self.scaling)
        require(self.validation >= 0, "dataset.validation", "must be >= 0", self.validation)

    def load(self, *, progress: ProgressCallback | None = None) -> Dataset:  # noqa: ARG002 - NumPy reads without a pause
        """Read the file; no object in it is ever unpickled."""
        if self.root is None:
            raise ConfigError("dataset.root must be the .npz file to read, got None")
        file = expanded(self.root)
        arrays, naming = _read(file)
        parts = {
            part: _split(file, arrays, naming, part) for part in ("train", "test", "val") if _has(arrays, naming, part)
        }
        if "val" in parts and self.validation:
            name = _names(naming, "val")[0]
            raise ConfigError(f"dataset.validation must be 0 for a file with {name}, got {self.validation}: {file}")
        return make_dataset(
            name=file.stem,
            train=parts["train"],
            test=parts["test"],
            classes=_classes(file, arrays, _names(naming, "train")[1]),
            image_shape=arrays[_names(naming, "train")[0]].shape[1:],
            validation=parts.get("val", self.validation),
            scaling=self.scaling,
        )


Naming = tuple[str, str]


def _read(file: Path) -> tuple[Mapping[str, np.ndarray], Naming]:
    """Return the arrays of a file that the data set uses, and how they are named."""
    if not file.is_file():
        raise DataError(f"dataset.root must be an .npz file, got {str(file)!r}, and there is no such file")
    try:
        with file.open("rb") as stream:
            if not zipfile.is_zipfile(stream):  # NumPy would read it as a single array, or advise to unpickle it
                raise TypeError("it is no ZIP archive, as numpy.savez writes it")  # noqa: TRY301  # reported like any other fault of the file
            stream.seek(0)
            archive = np.load(stream, allow_pickle=False)
            naming = _naming(file, archive.files)
            names = {name for part in ("train", "test", "val") for name in _names(naming, part)} | {CLASSES}
            found = {name: archive[name] for name in archive.files if name in names}
    except DataError:
        raise
    except Exception as error:  # damage surfaces as any of a dozen types from zipfile, zlib and NumPy
        raise DataError(f"{file} must be a .npz file of plain arrays: {error or type(error).__name__}") from error
    for name, array in found.items():
        if not isinstance(array, np.ndarray):  # NumPy returns a member of another kind as bytes
            raise DataError(f"{file}: {name} must be an array, as numpy.savez writes it, and is none")
    return {name: _channels_first(array, naming) for name, array in found.items()}, naming


def _channels_first(array: np.ndarray, naming: Naming) -> np.ndarray:
    """Return an array of images ``(N, H, W, C)`` as ``(N, C, H, W)``, any other as it is."""
    last = array.ndim == 4 and array.shape[-1] in _CHANNELS and (naming == _KERAS or array.shape[1] not in _CHANNELS)
    return np.moveaxis(array, -1, 1) if last else array


def _naming(file: Path, names: Collection[str]) -> Naming:
    """Return the one naming by which all arrays of training and test exist."""
    needed = {naming: (*_names(naming, "train"), *_names(naming, "test")) for naming in NAMINGS}
    begun = [naming for naming in NAMINGS if any(name in names for name in needed[naming])]
    if len(begun) == 1 and all(name in names for name in needed[begun[0]]):
        return begun[0]
    choices = " or ".join(", ".join(needed[naming]) for naming in begun or NAMINGS)
    if len(begun) > 1:
        raise DataError(f"{file}: the arrays must be named in one way, {choices}, got {', '.join(sorted(names))}")
    missing = next((name for naming in begun for name in needed[naming] if name not in names), None)
    found = f"{missing} is missing" if missing else f"got {', '.join(sorted(names)) or 'none'}"
    raise DataError(f"{file}: the arrays {choices} must be there, {found}")


def _names(naming: Naming, part: str) -> tuple[str, str]:
    """Return the names of the images and the labels of a split."""
    images, labels = naming
    return images.format(part=part), labels.format(part=part)


def _has(arrays: Collection[str], naming: Naming, part: str) -> bool:
    return any(name in arrays for name in _names(naming, part))


def _split(file: Path, arrays: Mapping[str, np.ndarray], naming: Naming, part: str) -> Split:
    of_images, of_labels = _names(naming, part)
    for name in (of_images, of_labels):
        if name not in arrays:
            raise DataError(f"{file}: the arrays {of_images} and {of_labels} must be there both, {name} is missing")
    images, labels = arrays[of_images], arrays[of_labels]
    if not (images.dtype == np.uint8 or images.dtype.kind == "f") or images.ndim < 2 or 0 in images.shape:
        raise DataError(
            f"{file}: {of_images} must be uint8 or floating-point (N, ...), got {images.dtype} {images.shape}"
        )
    if images.dtype.kind == "f":
        with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, which is refused below
            images = images.astype(np.float32, copy=False)
        if not np.isfinite(images).all():
            raise DataError(
                f"{file}: {of_images} must be finite numbers of float32, got {images[~np.isfinite(images)][0]}"
            )
    first = _names(naming, "train")[0]
    shape = arrays[first].shape[1:]
    if images.shape[1:] != shape:
        raise DataError(
            f"{file}: an image of {of_images} must have the shape {shape} of {first}'s, got {images.shape[1:]}"
        )
    count = len(images)
    if labels.dtype.kind not in "iu" or labels.shape not in {(count,), (count, 1)}:
        found = f"{labels.dtype} {labels.shape}"
        raise DataError(f"{file}: {of_labels} must be whole numbers ({count},) or ({count}, 1), got {found}")
    return Split(images=images.reshape(count, -1), labels=labels.reshape(count).astype(np.int64))


def _classes(file: Path, arrays: Mapping[str, np.ndarray], of_labels: str) -> tuple[str, ...]:
    if CLASSES in arrays:
        names = arrays[CLASSES]
        if names.dtype.kind != "U" or names.ndim != 1:
            raise DataError(f"{file}: {CLASSES} must be texts (C,), got {names.dtype} {names.shape}")
        if twice := [name for name, count in Counter(names.tolist()).items() if count > 1]:
            raise DataError(f"{file}: {CLASSES} must be texts that differ, got {twice[0]!r} more than once")
        return tuple(names.tolist())
    present = np.unique(arrays[of_labels])
    if present[0] != 0 or present[-1] != len(present) - 1:
        found = f"{len(present)} different ones from {present[0]} to {present[-1]}"
        raise DataError(f"{file}: without {CLASSES}, {of_labels} must be 0 to C-1 with none left out, got {found}")
    return tuple(str(number) for number in present)
