"""A dataset in memory: images or features in three splits, labels, class names and a digest."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from tasks.arrays.devices import as_numpy, device_put, pieces
from tasks.errors import ConfigError, DataError, require_choice

SCALINGS = ("none", "standard")
"""How centred features are scaled: not at all, or divided by their standard deviation over the training set."""

_SPLITS = ("train", "validation", "test")

# Squares are added up in blocks of so many examples, a few examples at a time, which stay in cache: twice as fast.
_SUMMED, _SQUARED = 4096, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Images uint8 ``(N, D)``, one flattened image a row, and their labels int64 ``(N,)``, of any array library.

    Features other than images are also in ``images``, as finite float32 ``(N, D)``.
    """

    images: Any
    labels: Any

    def __len__(self) -> int:
        return int(self.labels.shape[0])

    def sample(self, count: int) -> Split:
        """Return ``count`` examples, evenly spread, or all where there are fewer; host arrays only."""
        places = np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.int64)
        return Split(images=self.images[places], labels=self.labels[places])

    def on(self, like: Any) -> Split:
        """Return the split on the device of ``like``."""
        return Split(images=device_put(as_numpy(self.images), like), labels=device_put(as_numpy(self.labels), like))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A classification data set; `make_dataset` is the way to build one.

    ``image_shape`` is the shape of one image before flattening, channels first where there are any:
    ``(8, 8)``, ``(3, 32, 32)``; ``(D,)`` for other features. ``mean`` is the mean training image, float32
    ``(D,)``; ``scale`` is the factor on centred features, float32 ``(D,)``, None for 1.
    ``digest`` is the SHA-256 of the arrays, class names, scaling and image shape, in hexadecimal.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    image_shape: tuple[int, ...]
    mean: Any
    scale: Any
    digest: str

    def features(self, split: Split) -> np.ndarray:
        """Return a split's inputs of a model: centred and scaled, float32 ``(N, D)``, on the host."""
        centred: np.ndarray = as_numpy(split.images).astype(np.float32) - as_numpy(self.mean)
        return centred if self.scale is None else np.multiply(centred, as_numpy(self.scale), out=centred)

    def sample(self, count: int) -> Dataset:
        """Return ``count`` examples of every split, evenly spread; mean, scale and digest stay those of the whole."""
        return dataclasses.replace(self, **{part: getattr(self, part).sample(count) for part in _SPLITS})

    def on(self, like: Any) -> Dataset:
        """Return the data set on the device of ``like``, images in their own type; itself if it is there already."""
        if array_namespace(self.mean) is array_namespace(like):
            return self
        splits = {part: getattr(self, part).on(like) for part in _SPLITS}
        scale = None if self.scale is None else device_put(as_numpy(self.scale), like)
        return dataclasses.replace(self, **splits, mean=device_put(as_numpy(self.mean), like), scale=scale)


def make_dataset(
    *,
    name: str,
    train: Split,
    test: Split,
    classes: tuple[str, ...],
    image_shape: tuple[int, ...],
    validation: int | Split,
    scaling: str = "none",
) -> Dataset:
    """Check the arrays, hold out ``validation`` training examples, and compute mean, scale and digest.

    Where ``validation`` is a split of the data set's own, no training example is held out.

    The arrays of the result are contiguous and read-only: one copy serves every trial of a node.
    In names, bytes that are not UTF-8 are escaped: a folder's name may hold some.
    The validation examples are drawn without replacement by a fixed seed, so they are the same for
    every trial of every sweep on this data set.

    Raises
    ------
    DataError
        If the arrays do not fit together, or a label is outside the classes.
    ConfigError
        If ``validation`` leaves no training example.
    """
    name, *escaped = (text.encode(errors="backslashreplace").decode() for text in (name, *classes))
    classes = tuple(escaped)
    own = {"validation": validation} if isinstance(validation, Split) else {}
    for part, split in {"train": train, "test": test, **own}.items():
        _check(f"{name} {part}", split, len(classes), int(np.prod(image_shape)))
        if split.images.dtype != train.images.dtype:
            found = f"{split.images.dtype} and {train.images.dtype}"
            raise DataError(f"{name} {part}: images must be of the type of those of train, got {found}")
    kept, validating = (train, validation) if isinstance(validation, Split) else hold_out(train, validation)
    kept, validating, test = (
        Split(images=_read_only(split.images), labels=_read_only(split.labels)) for split in (kept, validating, test)
    )
    mean = kept.images.mean(axis=0, dtype=np.float64)
    return Dataset(
        name=name,
        train=kept,
        validation=validating,
        test=test,
        classes=classes,
        image_shape=image_shape,
        mean=_read_only(mean.astype(np.float32)),
        scale=None if scaling == "none" else _read_only(_standard(kept.images, mean)),
        digest=_digest((kept, validating, test), classes, scaling, image_shape),
    )


def hold_out(train: Split, validation: int) -> tuple[Split, Split]:
    """Return the training examples without the held-out ones, and the ``validation`` held-out ones; see `held_out`."""
    held = held_out(len(train), validation)
    if not validation:
        return train, Split(images=train.images[:0], labels=train.labels[:0])
    return (
        Split(images=train.images[~held], labels=train.labels[~held]),
        Split(images=train.images[held], labels=train.labels[held]),
    )


def held_out(count: int, validation: int) -> np.ndarray:
    """Return which of ``count`` training examples are the ``validation`` held-out ones, bool ``(count,)``.

    Raises
    ------
    ConfigError
        If ``validation`` leaves no training example.
    """
    if not 0 <= validation < count:
        raise ConfigError(
            f"dataset.validation must be at least 0 and below the {count} training examples, got {validation}"
        )
    held = np.zeros(count, dtype=bool)
    held[np.random.default_rng(0).permutation(count)[:validation]] = True
    return held


def _check(part: str, split: Split, classes: int, features: int) -> None:
    images, labels = split.images, split.labels
    if images.dtype not in {np.dtype(np.uint8), np.dtype(np.float32)} or images.shape[1:] != (features,):
        rule = f"images must be uint8 (N, {features}) and features float32 (N, {features})"
        raise DataError(f"{part}: {rule}, got {images.dtype} {images.shape}")
    if images.dtype == np.float32 and not np.isfinite(images).all():
        row, column = np.argwhere(~np.isfinite(images))[0]
        raise DataError(f"{part}: features must be finite, got {images[row, column]} in row {row}, column {column}")
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise DataError(f"{part}: labels must be int64 ({len(images)},), got {labels.dtype} {labels.shape}")
    if not len(labels):
        raise DataError(f"{part}: there must be at least one example, got none")
    if labels.min() < 0 or labels.max() >= classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise DataError(f"{part}: a label must be one of the {classes} classes 0 to {classes - 1}, got {wrong}")


def _read_only(array: np.ndarray) -> np.ndarray:
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def check_scaling(scaling: str) -> None:
    """Raise a `ConfigError` unless ``scaling`` is one of `SCALINGS`."""
    require_choice("dataset.scaling", scaling, SCALINGS)


def _standard(images: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return one over the standard deviation of every feature ``(D,)``; 1 for one that is constant in float32."""
    squares = sum(_squares(images[part], mean) for part in pieces(len(images), _SUMMED))
    deviation = np.sqrt(squares / len(images))
    return np.asarray(1 / np.where(deviation > np.finfo(np.float32).tiny, deviation, 1.0), dtype=np.float32)


def _squares(images: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the sum over examples of ``(x - mean)^2``, float64 ``(D,)``, added up in order."""
    rows = np.zeros((1 + _SQUARED, len(mean)))  # the sum so far, then the squares
    for part in pieces(len(images), _SQUARED):
        squares = rows[1 : 1 + part.stop - part.start]
        np.square(np.subtract(images[part], mean, out=squares), out=squares)
        rows[0] = rows[: 1 + len(squares)].sum(axis=0)
    return np.asarray(rows[0])


def _digest(splits: tuple[Split, ...], classes: tuple[str, ...], scaling: str, image_shape: tuple[int, ...]) -> str:
    digest = hashlib.sha256(repr(classes if scaling == "none" else (classes, scaling)).encode())
    for split in splits:
        kind = () if split.images.dtype == np.uint8 else (split.images.dtype.name,)
        digest.update(repr((*split.images.shape, *kind)).encode())
        digest.update(split.images.data)
        digest.update(split.labels.data)
    if not _is_usual(image_shape):
        digest.update(repr(image_shape).encode())
    return digest.hexdigest()


def _is_usual(image_shape: tuple[int, ...]) -> bool:
    """Return whether a shape is flat, or that of square images, grey or in three colours.

    The number of features determines the size of a square image, and a model that takes images and flat features
    treats both alike. So the digest leaves these shapes out, and recorded data sets keep their digests.
    """
    *channels, height, width = (1, *image_shape)
    return len(image_shape) == 1 or (height == width and math.prod(channels) in {1, 3} and len(image_shape) <= 3)
