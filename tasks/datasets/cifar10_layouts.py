"""Reads the two layouts in which CIFAR-10 is published: the binary version and the python version."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tasks.datasets.cifar10_pickle import PixelArray, loads
from tasks.datasets.dataset import Split, held_out
from tasks.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = "test_batch"
RECORDS = 10_000  # of each file
FEATURES = 3 * 32 * 32
RECORD = 1 + FEATURES  # bytes: the label, then the red, the green and the blue plane
PICKLE = 64 << 20  # bytes; a published file has 31 million


def read_binary(folder: Path, validation: int) -> tuple[Split, Split, Split]:
    """Return the training, the ``validation`` held-out and the test examples of the binary version in ``folder``."""
    meta = folder / "batches.meta.txt"
    if meta.exists():
        names = _read(meta, 1024).decode("latin1").split()
        _check_classes(meta, names)

    def read(name: str) -> Split:
        file = folder / f"{name}.bin"
        return parse_binary(_read(file, RECORDS * RECORD), file)

    return *_join(map(read, TRAIN), validation), read(TEST)


def read_python(folder: Path, validation: int) -> tuple[Split, Split, Split]:
    """Return the training, the ``validation`` held-out and the test examples of the python version in ``folder``."""
    meta = folder / "batches.meta"
    if meta.exists():
        names = loads(_read(meta, 1 << 16), meta).get(b"label_names")
        _check_classes(meta, [_text(name) for name in names] if isinstance(names, list) else [])

    def read(name: str) -> Split:
        file = folder / name
        return parse_python(_read(file, PICKLE), file)

    return *_join(map(read, TRAIN), validation), read(TEST)


def parse_binary(content: bytes, file: Path, *, records: int = RECORDS) -> Split:
    """Return the images and labels of one file of the binary version; ``file`` is named in errors."""
    if len(content) != records * RECORD:
        raise DataError(
            f"{file} must hold {records} records of {RECORD} bytes, {records * RECORD} in all, got {len(content)}"
        )
    table = np.frombuffer(content, dtype=np.uint8).reshape(records, RECORD)
    return _split(file, images=table[:, 1:], labels=table[:, 0].astype(np.int64))


def parse_python(content: bytes, file: Path, *, records: int = RECORDS) -> Split:
    """Return the images and labels of one file of the python version; ``file`` is named in errors."""
    batch = loads(content, file)
    data, labels = batch.get(b"data"), batch.get(b"labels")
    shape = (records, FEATURES)
    if type(data) is not PixelArray or data.shape != shape or len(data.content) != records * FEATURES:
        found = f"{len(data.content)} bytes" if type(data) is PixelArray else type(data).__name__
        raise DataError(f"{file}: data must be a uint8 array {shape}, got {found}")
    if type(labels) is not list or len(labels) != records or not all(type(label) is int for label in labels):
        raise DataError(f"{file}: labels must be a list of {records} whole numbers, got {type(labels).__name__}")
    if not all(0 <= label < len(CLASSES) for label in labels):
        raise _label_error(file, next(label for label in labels if not 0 <= label < len(CLASSES)))
    images = np.frombuffer(data.content, dtype=np.uint8).reshape(shape, order="F" if data.fortran_order else "C")
    return _split(file, images=images, labels=np.array(labels, dtype=np.int64))


def _split(file: Path, *, images: np.ndarray, labels: np.ndarray) -> Split:
    if labels.max() >= len(CLASSES):
        raise _label_error(file, int(labels.max()))
    return Split(images=images, labels=labels)


def _label_error(file: Path, label: int) -> DataError:
    return DataError(f"{file}: a label must be 0 to {len(CLASSES) - 1}, got {label}")


def _join(files: Iterable[Split], validation: int) -> tuple[Split, Split]:
    """Return the training files' examples without the held-out ones, and these.

    Each file is copied as soon as it is read, and once: the first use of so much memory takes longer than the copy.
    """
    count = len(TRAIN) * RECORDS
    order = np.argsort(held_out(count, validation), kind="stable")
    places = np.empty_like(order)
    places[order] = np.arange(count)
    images, labels = np.empty((count, FEATURES), dtype=np.uint8), np.empty(count, dtype=np.int64)
    for split, of_file in zip(files, np.split(places, len(TRAIN)), strict=True):
        images[of_file], labels[of_file] = split.images, split.labels
    kept = count - validation
    return Split(images=images[:kept], labels=labels[:kept]), Split(images=images[kept:], labels=labels[kept:])


def _read(file: Path, most: int) -> bytes:
    if not file.is_file():
        raise DataError(f"{file} must be a file of CIFAR-10, and is missing")
    try:
        if file.stat().st_size > most:
            raise DataError(f"{file} must have at most {most} bytes, got {file.stat().st_size}")
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error}") from error


def _text(name: object) -> str:
    return name.decode("latin1") if isinstance(name, bytes) else str(type(name))


def _check_classes(file: Path, names: list[str]) -> None:
    if tuple(names) != CLASSES:
        raise DataError(f"{file}: the classes must be {', '.join(CLASSES)}, got {', '.join(names)[:200] or 'none'}")
