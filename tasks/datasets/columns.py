"""Tabular data sets: columns of numbers and a column of labels, missing values, and splits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tasks.datasets.dataset import Dataset, Split, check_scaling, hold_out, make_dataset
from tasks.errors import ConfigError, DataError, require, require_choice

MISSING = ("refuse", "drop", "mean", "median")
"""A row with a missing value: an error, dropped, or imputed by the column's mean or median over the training set."""

SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""The values of a column of splits, and the split that each means."""


class Options(Protocol):
    """A tabular data set's options for splits and missing values.

    ``test`` and ``validation`` are numbers of rows, or fractions below 1: of all rows, and of the rows that remain
    after the test rows. ``split_seed`` draws the test rows.
    """

    @property
    def test(self) -> float:
        """How many rows are test rows."""

    @property
    def validation(self) -> float | None:
        """How many of the others are held out for validation, None for `VALIDATION`."""

    @property
    def split_seed(self) -> int:
        """The seed that draws the test rows."""

    @property
    def missing(self) -> str:
        """One of `MISSING`."""

    @property
    def scaling(self) -> str:
        """One of `SCALINGS` of `tasks.datasets.dataset`."""


# The share of its range that a column may lose in float32, and the relative range up to which a column is constant.
_LOST, _CONSTANT = 0.01, 1e-13

VALIDATION = 0.2
"""The default fraction of the training rows that is held out for validation."""


def check_options(options: Options) -> None:
    """Raise a `ConfigError` where an option breaks its rule."""
    check_scaling(options.scaling)
    require_choice("dataset.missing", options.missing, MISSING)
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


def _given(value: float, amount: int) -> str:
    """Return an amount as it was given, with the rows that a fraction comes to."""
    return str(amount) if value >= 1 else f"{value:g}, which is {amount} of them"


def tabular(
    *, title: str, name: str, columns: Mapping[str, np.ndarray], labels: np.ndarray, parts: Any = None, options: Options
) -> Dataset:
    """Return the data set of columns of numbers ``(N,)``, NaN where one is missing, and texts of labels ``(N,)``.

    ``parts`` ``(N,)`` is the split of each row, where the data have a column of splits; None: the test rows are drawn.
    Missing values are imputed from the training set alone.

    Raises
    ------
    DataError
        If a value is missing and ``missing=refuse``, a number is infinite, float32 does not tell a column's numbers
        apart, or a split has no row.
    """
    if not columns or not len(labels):
        raise DataError(f"{title}: there must be a column of numbers and a row, got {len(columns)} and {len(labels)}")
    with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, which is refused below
        features = np.stack([np.asarray(column, dtype=np.float32) for column in columns.values()], axis=1)
    _refuse_infinite(title, columns, features)
    _refuse_rounded(title, columns, features)
    whole, kept = ~np.isnan(features).any(axis=1), np.arange(len(features))
    if options.missing == "refuse" and not whole.all():
        raise DataError(_lacking(title, list(columns), features))
    if options.missing == "drop":
        kept = np.flatnonzero(whole)
        features, labels, parts = features[kept], labels[kept], None if parts is None else parts[kept]
    classes, numbers = numbered(labels)
    rows = _rows(title, parts, kept, options)
    split = {part: Split(images=features[place], labels=numbers[place]) for part, place in rows.items()}
    train, validation = _with_validation(split["train"], split.get("val"), options)
    test = split["test"]
    if options.missing in {"mean", "median"}:
        fill = _fill_values(title, list(columns), train.images, options.missing)
        train, validation, test = (_imputed(part, fill) for part in (train, validation, test))
    return make_dataset(
        name=name,
        train=train,
        test=test,
        classes=classes,
        image_shape=(features.shape[1],),
        validation=validation if len(validation) else 0,
        scaling=options.scaling,
    )


def _with_validation(train: Split, own: Split | None, options: Options) -> tuple[Split, Split]:
    """Return the rows that are trained on, and those of validation: the data's ``own``, or some that are held out."""
    if own is not None:
        if options.validation:
            raise ConfigError(f"dataset.validation must be null for data that have their own, got {options.validation}")
        return train, own
    asked = VALIDATION if options.validation is None else options.validation
    held = _amount(asked, len(train))
    if held >= len(train):
        rule = f"dataset.validation must be at least 0 and below the {len(train)} training examples"
        raise ConfigError(f"{rule}, got {_given(asked, held)}")
    return hold_out(train, held)


def listed(names: Sequence[str]) -> str:
    """Return the names of columns for a message, the first twenty of many."""
    return ", ".join(names if len(names) <= 20 else [*names[:20], f"... ({len(names)} in all)"])


def first_text(values: Iterable[Any]) -> tuple[int, Any]:
    """Return the row, from 1, and the value of the first that reads like no number, None left out.

    If all read like numbers, it is the first of them.

    >>> first_text([None, "2", "two", "deux"]), first_text(["1"])
    ((3, 'two'), (1, '1'))
    """
    rows = ((row, value) for row, value in enumerate(values, start=1) if value is not None)
    return min(rows, key=lambda row: _reads_like_number(row[1]), default=(1, None))


def _reads_like_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def class_text(value: Any) -> str | None:
    """Return a class as a text, None for what is none: a number that is not whole, or no value at all.

    >>> class_text("wet"), class_text(2.0), class_text(0.5), class_text(None)
    ('wet', '2', None, None)
    """
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    return str(value) if isinstance(value, bool | int | str) and value != "" else None


def numbered(texts: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names, numbers in numerical order, and each example's label, int64.

    >>> numbered(np.array(["10", "9", "10"]))
    (('9', '10'), array([1, 0, 1]))
    """
    names, labels = np.unique(texts, return_inverse=True)
    if all(name.removeprefix("-").isdecimal() for name in names.tolist()):
        # Python's integers: a code may have more digits than 64 bits hold.
        order = np.argsort(np.array([int(name) for name in names], dtype=object), kind="stable")
        names, labels = names[order], np.argsort(order)[labels]
    return tuple(names.tolist()), labels.astype(np.int64)


def _rows(title: str, parts: Any, kept: np.ndarray, options: Options) -> dict[str, np.ndarray]:
    """Return the indices of the rows of every split; ``kept`` are the places of the rows in the data."""
    if parts is None:
        count = len(kept)
        test = _amount(options.test, count)
        if not 0 < test < count:
            rule = f"dataset.test must leave rows for training and test of {count}"
            raise DataError(f"{title}: {rule}, got {_given(options.test, test)}")
        order = np.random.default_rng(options.split_seed).permutation(count)
        return {"train": np.sort(order[test:]), "test": np.sort(order[:test])}
    found = [SPLIT_NAMES.get(str(part).strip().lower(), "") for part in parts.tolist()]
    if "" in found:
        row = found.index("")
        raise DataError(
            f"{title}: the column of splits must hold one of {', '.join(SPLIT_NAMES)}, "
            f"got {parts[row]!r} in row {kept[row] + 1}"
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


def _refuse_rounded(title: str, columns: Mapping[str, np.ndarray], features: np.ndarray) -> None:
    for (name, column), rounded in zip(columns.items(), features.T, strict=True):
        known = ~np.isnan(rounded)
        numbers = np.asarray(column, dtype=np.float64)[known]
        if not len(numbers):
            continue
        low, high, lost = numbers.min(), numbers.max(), np.ptp(numbers - rounded[known])
        # A column that is constant but for rounding in float64 has nothing to lose.
        if lost > _LOST * (high - low) > _CONSTANT * np.abs(numbers).max():
            raise DataError(
                f"{title}: column {name!r} must hold numbers that float32 tells apart, got {low:.17g} to {high:.17g}: "
                f"subtract the least from all, or leave the column out with 'dataset.drop=[{name}]'"
            )


def _lacking(title: str, names: list[str], features: np.ndarray) -> str:
    """Return the message for missing values: which columns have them, and the choices."""
    missing = np.isnan(features)
    counts = [f"{name!r} ({count})" for name, count in zip(names, missing.sum(axis=0).tolist(), strict=True) if count]
    return (
        f"{title}: values are missing in {int(missing.any(axis=1).sum())} of {len(missing)} rows, in the columns "
        f"{', '.join(counts)}: dataset.missing=drop leaves those rows out, mean or median makes values up"
    )


def _fill_values(title: str, names: list[str], features: np.ndarray, how: str) -> np.ndarray:
    """Return the mean or the median of every column's values that are not missing, float32 ``(D,)``."""
    empty = np.flatnonzero(np.isnan(features).all(axis=0))
    if len(empty):
        raise DataError(f"{title}: column {names[empty[0]]!r} must hold a number in some row of training, got none")
    centre = np.nanmean(features, axis=0, dtype=np.float64) if how == "mean" else np.nanmedian(features, axis=0)
    return np.asarray(centre, dtype=np.float32)


def _imputed(split: Split, fill: np.ndarray) -> Split:
    return Split(images=np.where(np.isnan(split.images), fill, split.images), labels=split.labels)
