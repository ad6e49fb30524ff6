"""A dataset from folders of pictures: root/train/CLASS/*.png or *.jpg, and root/test/CLASS likewise."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.datasets.dataset import Dataset, Split, check_scaling, make_dataset
from tasks.datasets.source import ProgressCallback, expanded
from tasks.errors import ConfigError, DataError, require

SUFFIXES = (".png", ".jpg", ".jpeg")
PIXELS = 1 << 22  # the most of one image; a small file can claim any size, so its header is checked before decoding
COLOURS = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Pictures in the folders ``root``/train/CLASS and ``root``/test/CLASS, all of one size, all grey or all RGB.

    The classes are the folders' names in alphabetical order, the same in train and test; files are read in
    the order of their names, those with other endings than .png, .jpg and .jpeg are ignored.
    """

    root: str | None = None
    validation: int = 0
    scaling: str = "none"

    def __post_init__(self) -> None:
        check_scaling(self.scaling)
        require(self.validation >= 0, "dataset.validation", "must be >= 0", self.validation)

    def load(self, *, progress: ProgressCallback | None = None) -> Dataset:
        """Decode the pictures; the progress counts files."""
        if self.root is None:
            raise ConfigError("dataset.root must be the folder that holds train and test, got None")
        root = expanded(self.root)
        classes = _classes(root / "train")
        odd = set(classes) ^ set(_classes(root / "test"))
        if odd:
            raise DataError(f"{root}: train and test must have the same class folders, got {min(odd)!r} in one only")
        files = {part: _files(root / part, classes) for part in ("train", "test")}
        first = _decode(files["train"][0][0])
        total = sum(len(found) for found in files.values())
        splits, done = {}, 0
        for part, found in files.items():
            splits[part] = _read(found, first, progress, done, total)
            done += len(found)
        return make_dataset(
            name=root.resolve().name,
            train=splits["train"],
            test=splits["test"],
            classes=classes,
            image_shape=first.shape,
            validation=self.validation,
            scaling=self.scaling,
        )


def _classes(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise DataError(f"dataset.root must hold the folders train and test, and there is no folder {folder}")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise DataError(f"{folder} must hold one folder of images a class, got none")
    return tuple(names)


def _files(folder: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """Return the picture files below ``folder``, each with its label."""
    files = []
    for label, name in enumerate(classes):
        found = sorted(
            path
            for path in (folder / name).iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        )
        if not found:
            raise DataError(f"{folder / name} must hold images ({', '.join(SUFFIXES)}), got none")
        files += [(path, label) for path in found]
    return files


def _read(
    files: list[tuple[Path, int]], first: np.ndarray, progress: ProgressCallback | None, done: int, total: int
) -> Split:
    images = np.empty((len(files), first.size), dtype=np.uint8)
    for row, (file, _) in enumerate(files):
        image = _decode(file)
        if image.shape != first.shape:
            raise DataError(
                f"{file}: an image must have the size and colours of the first one, {_describe(first)}, "
                f"got {_describe(image)}"
            )
        images[row] = image.ravel()
        if progress:
            progress(done + row + 1, total)
    return Split(images=images, labels=np.array([label for _, label in files], dtype=np.int64))


def _decode(file: Path) -> np.ndarray:
    """Return the picture, uint8 ``(H, W)`` if it is grey, else ``(3, H, W)``."""
    from PIL import Image  # noqa: PLC0415 - only this row needs Pillow

    if not file.is_file():  # a named pipe would be waited for without end
        raise DataError(f"{file} must be a file, and is none")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a palette with transparency, once an image
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Two formats, instead of the forty that Pillow would try.
            with Image.open(file, formats=("PNG", "JPEG")) as image:
                rule = _broken_rule(image.size, image.mode)
                pixels = np.asarray(image.convert(COLOURS[image.mode])) if rule is None else None
    except Exception as error:  # damage surfaces as any of a dozen types from Pillow and zlib
        raise DataError(f"{file} must be a whole PNG or JPEG image: {error}") from error
    if pixels is None:
        raise DataError(f"{file}: an image must {rule}")
    return pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _broken_rule(size: tuple[int, int], mode: str) -> str | None:
    """Return the rule that an image breaks by its header, None if it breaks none."""
    if size[0] * size[1] > PIXELS:
        return f"have at most {PIXELS} pixels, got {size[0]} x {size[1]}"
    if mode not in COLOURS:
        return f"be grey or RGB with 8 bits a colour, got the mode {mode}"
    return None


def _describe(image: np.ndarray) -> str:
    height, width = image.shape[-2:]
    return f"{width} x {height} {'grey' if image.ndim == 2 else 'RGB'}"
