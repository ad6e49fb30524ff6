"""Tabular data sets: columns of numbers and a column of labels, missing values, and who is trained and tested on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from tasks.datasets.dataset import Dataset, Split, check_scaling, make_dataset, set_apart
from tasks.errors import ConfigError, DataError, require, unknown_choice

MISSING = ("refuse", "drop", "mean", "median")
"""What becomes of a row that lacks a value: an error, nothing, or the column's mean or median over the training set."""

PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""What a column of splits may say, and the split that it means."""


class Options(Protocol):
    """What a row of a tabular data set says of its splits and of values that are missing.

    ``test`` and ``validation`` are numbers of examples, or below 1 fractions: of all rows, and of those that are then
    left for training. Rows are drawn for the test by ``split_seed``.
    """

    @property
    def test(self) -> float:
        """How many rows are tested on."""

    @property
    def validation(self) -> float | None:
        """How many of the others are set apart, None for `VALIDATION`."""

    @property
    def split_seed(self) -> int:
        """What draws the rows for the test."""

    @property
    def missing(self) -> str:
        """One of `MISSING`."""

    @property
    def scaling(self) -> str:
        """One of `SCALINGS` of `tasks.datasets.dataset`."""


VALIDATION = 0.2
"""The fraction of the training rows that is set apart where nothing is said of it."""


def check_options(options: Options) -> None:
    """Raise a `ConfigError` where an option breaks its rule."""
    check_scaling(options.scaling)
    if options.missing not in MISSING:
        raise unknown_choice("dataset.missing", options.missing, MISSING)
    require(options.split_seed >= 0, "dataset.split_seed", "must be >= 0", options.split_seed)
    rule = "must be a number of rows, or a fraction of them below 1"
    require(options.test > 0 and _is_amount(options.test), "dataset.test", rule, options.test)
    validation = options.validation
    require(validation is None or validation >= 0, "dataset.validation", f"must be >= 0: {rule[8:]}", validation)
    require(validation is None or _is_amount(validation), "dataset.validation", rule, validation)


def _is_amount(value: float) -> bool:
    return 0 <= value < 1 or (math.isfinite(value) and value == int(value))


def _amount(value: float, total: int) -> int:
    return int(value) if value >= 1 else round(value * total)


def tabular(
    *, title: str, name: str, columns: Mapping[str, np.ndarray], labels: np.ndarray, parts: Any = None, options: Options
) -> Dataset:
    """Return the data set of columns of numbers ``(N,)``, NaN where one is missing, and texts of labels ``(N,)``.

    ``parts`` ``(N,)`` says which split each row is of, where the data say so themselves; else rows are drawn for the
    test. What stands in for a missing value is of the training set alone.

    Raises
    ------
    DataError
        If a value is missing and not to be made up, a number is infinite, or a split has no row.
    """
    if not columns or not len(labels):
        raise DataError(f"{title}: there must be a column of numbers and a row, got {len(columns)} and {len(labels)}")
    with np.errstate(over="ignore"):  # what is too large for float32 is then found to be infinite
        features = np.stack([np.asarray(column, dtype=np.float32) for column in columns.values()], axis=1)
    _refuse_infinite(title, columns, features)
    whole = ~np.isnan(features).any(axis=1)
    if options.missing == "refuse" and not whole.all():
        raise DataError(_lacking(title, list(columns), features))
    if options.missing == "drop":
        features, labels, parts = features[whole], labels[whole], None if parts is None else parts[whole]
    classes, numbers = numbered(labels)
    rows = _rows(title, parts, len(features), options)
    split = {part: Split(images=features[place], labels=numbers[place]) for part, place in rows.items()}
    train, validation = split["train"], split.get("val")
    if validation is None:
        asked = VALIDATION if options.validation is None else options.validation
        train, validation = set_apart(train, _amount(asked, len(train)))
    elif options.validation:
        raise ConfigError(f"dataset.validation must be null for data that have their own, got {options.validation}")
    if options.missing in {"mean", "median"}:
        standing_in = _centre(title, list(columns), train.images, options.missing)
        train, validation, test = (_filled(part, standing_in) for part in (train, validation, split["test"]))
    else:
        test = split["test"]
    return make_dataset(
        name=name,
        train=train,
        test=test,
        classes=classes,
        image_shape=(features.shape[1],),
        validation=validation if len(validation) else 0,
        scaling=options.scaling,
    )


def numbered(texts: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names, numbers in numerical order, and each example's label, int64.

    >>> numbered(np.array(["10", "9", "10"]))
    (('9', '10'), array([1, 0, 1]))
    """
    names, labels = np.unique(texts, return_inverse=True)
    if all(name.removeprefix("-").isdecimal() for name in names.tolist()):
        order = np.argsort(names.astype(np.int64), kind="stable")
        names, labels = names[order], np.argsort(order)[labels]
    return tuple(names.tolist()), labels.astype(np.int64)


def _rows(title: str, parts: Any, count: int, options: Options) -> dict[str, np.ndarray]:
    """Return the places of the rows of every split."""
    if parts is None:
        test = _amount(options.test, count)
        if not 0 < test < count:
            raise DataError(f"{title}: dataset.test must leave rows for training and test of {count}, got {test}")
        order = np.random.default_rng(options.split_seed).permutation(count)
        return {"train": np.sort(order[test:]), "test": np.sort(order[:test])}
    found = [PARTS.get(str(part).strip().lower(), "") for part in parts.tolist()]
    if "" in found:
        row = found.index("")
        raise DataError(
            f"{title}: the column of splits must say one of {', '.join(PARTS)}, got {parts[row]!r} in row {row + 1}"
        )
    places = {part: np.flatnonzero(np.array(found) == part) for part in ("train", "val", "test")}
    for part in ("train", "test"):
        if not len(places[part]):
            raise DataError(f"{title}: the column of splits must have rows for {part}, got none")
    return {part: place for part, place in places.items() if len(place)}


def _refuse_infinite(title: str, columns: Mapping[str, np.ndarray], features: np.ndarray) -> None:
    infinite = np.argwhere(np.isinf(features))
    if len(infinite):
        row, place = infinite[0]
        name, column = list(columns.items())[place]
        raise DataError(
            f"{title}: column {name!r} must hold finite numbers of float32, got {column[row]} in row {row + 1}"
        )


def _lacking(title: str, names: list[str], features: np.ndarray) -> str:
    """Say which columns lack values, and what can be done."""
    lacks = np.isnan(features)
    told = [f"{name!r} ({count})" for name, count in zip(names, lacks.sum(axis=0).tolist(), strict=True) if count]
    return (
        f"{title}: values are missing in {int(lacks.any(axis=1).sum())} of {len(lacks)} rows, in the columns "
        f"{', '.join(told)}: dataset.missing=drop leaves those rows out, mean or median makes values up"
    )


def _centre(title: str, names: list[str], features: np.ndarray, how: str) -> np.ndarray:
    """Return the mean or the median of every column's values that are there, float32 ``(D,)``."""
    empty = np.flatnonzero(np.isnan(features).all(axis=0))
    if len(empty):
        raise DataError(f"{title}: column {names[empty[0]]!r} must hold a number in some row of training, got none")
    centre = np.nanmean(features, axis=0, dtype=np.float64) if how == "mean" else np.nanmedian(features, axis=0)
    return np.asarray(centre, dtype=np.float32)


def _filled(split: Split, standing_in: np.ndarray) -> Split:
    return Split(images=np.where(np.isnan(split.images), standing_in, split.images), labels=split.labels)
